"""Movies x user: the transformer's output meets the user's embedding in a small MLP.

The post calls tokens ids, so `movie_ids` and `user_ids` are tokens here, as in its signatures.
"""

import itertools
from dataclasses import dataclass, field

import torch
from torch import nn

from recformer_utils.transformer import Transformer, TransformerConfig


@dataclass(frozen=True, kw_only=True)
class MovieLensTransformerConfig:
    """Shape of the whole model."""

    movie_transformer_config: TransformerConfig  # the part that reads the movies
    user_embedding_dimension: int  # width of a user's vector
    num_users: int  # rows of the user table
    interaction_mlp_hidden_sizes: list[int] = field(default_factory=list)  # before the output


class InteractionMLP(nn.Module):
    """Linear layers with a ReLU after each but the last, which has no bias."""

    def __init__(self, input_size: int, hidden_sizes: list[int], output_size: int):
        super().__init__()
        sizes = [input_size, *hidden_sizes]
        layers = []
        for size, next_size in itertools.pairwise(sizes):
            layers += [nn.Linear(size, next_size), nn.ReLU()]
        layers.append(nn.Linear(sizes[-1], output_size, bias=False))
        self.fc_layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float (batch, input_size) -> float (batch, output_size)."""
        return self.fc_layers(x)


class MovieLensTransformer(nn.Module):
    """Scores every movie as the next one, from a window of movies and the user who saw them."""

    def __init__(self, config: MovieLensTransformerConfig):
        super().__init__()
        self.config = config
        movies = config.movie_transformer_config
        width = movies.embedding_dimension + config.user_embedding_dimension  # side by side
        self.movie_transformer = Transformer(movies)
        self.user_embedding = nn.Embedding(config.num_users, config.user_embedding_dimension)
        self.output_layer = InteractionMLP(
            input_size=movies.context_window_size * width,
            hidden_sizes=config.interaction_mlp_hidden_sizes,
            output_size=movies.vocab_size,
        )

    def forward(self, movie_ids: torch.Tensor, user_ids: torch.Tensor) -> torch.Tensor:
        """Logits, float (batch, vocab_size), for the movie after a window.

        movie_ids: movie tokens, int (batch, window), always full; user_ids: tokens, int (batch,).
        """
        return self.score(movie_ids, self.user_embedding(user_ids))

    def score(self, movie_ids: torch.Tensor, user_embeddings: torch.Tensor) -> torch.Tensor:
        """As forward, for users given by their vectors, float (batch, user_embedding).

        A user the model has never seen has no row in the table; the mean of the rows stands in.

        Raises:
            ValueError: the window is not full (put start tokens in front of a short history).
        """
        time, window = movie_ids.shape[-1], self.config.movie_transformer_config.context_window_size
        if time < window:
            raise ValueError(f"{time} movies are too few: put start tokens in front of them")
        movies = self.movie_transformer(movie_ids)  # (batch, window, embedding)
        users = user_embeddings.unsqueeze(1).expand(-1, window, -1)  # the same at each position
        both = torch.cat([movies, users], dim=-1)  # (batch, window, embedding + user_embedding)
        return self.output_layer(both.flatten(start_dim=1))  # (batch, vocab_size)


def init_weights(model: MovieLensTransformer) -> None:
    """Small uniform weights in [-0.1, 0.1] for embeddings and output layer, zero biases.

    Every movie then starts with nearly the same score, so the first loss is close to
    ln(vocab_size). Changes the model in place; the blocks keep PyTorch's own initialisation.
    """
    bound = 0.1
    nn.init.uniform_(model.movie_transformer.token_embedding.weight, -bound, bound)
    nn.init.uniform_(model.user_embedding.weight, -bound, bound)
    for name, parameter in model.output_layer.named_parameters():
        if "weight" in name:
            nn.init.uniform_(parameter, -bound, bound)
        else:
            nn.init.zeros_(parameter)
