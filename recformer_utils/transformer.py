"""The causal transformer, small enough to read: attention, MLP, block, stack. Notebook 04 builds it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Shape of the transformer.

    Raises:
        ValueError: the width cannot be cut into that many heads.
    """

    vocab_size: int  # movies plus the start and the end token
    context_window_size: int  # movies in a window
    embedding_dimension: int  # width of the vectors that run through the model
    num_layers: int  # blocks
    num_heads: int  # attention heads; their widths add up to embedding_dimension
    dropout_embeddings: float = 0.1  # after token + position
    dropout_attention: float = 0.1  # on the attention weights
    dropout_residual: float = 0.1  # on what a block adds to its input
    layer_norm_epsilon: float = 1e-5  # keeps the layer norm's division finite

    def __post_init__(self) -> None:
        if self.embedding_dimension % self.num_heads:
            width, heads = self.embedding_dimension, self.num_heads
            raise ValueError(f"num_heads {heads} does not divide embedding_dimension {width}")


class CausalMultiHeadAttention(nn.Module):
    """Each position gathers what it needs from itself and the positions before it.

    Source: Vaswani et al., Attention Is All You Need, 2017.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dimension = config.embedding_dimension // config.num_heads
        self.dropout = config.dropout_attention
        self.qkv = nn.Linear(config.embedding_dimension, 3 * config.embedding_dimension)
        self.out = nn.Linear(config.embedding_dimension, config.embedding_dimension)
        self.residual_dropout = nn.Dropout(config.dropout_residual)

    def forward(
        self, x: torch.Tensor, return_weights: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Mixes the positions of x, float (batch, time, embedding), each with its past.

        return_weights: also return the attention weights, (batch, heads, time, time): rows
            (queries) sum to one, before dropout.
        """
        batch, time, embedding = x.shape
        q, k, v = (
            part.view(batch, time, self.num_heads, self.head_dimension).transpose(1, 2)
            for part in self.qkv(x).split(embedding, dim=-1)
        )  # each (batch, heads, time, head_dimension)
        scores = q @ k.transpose(-2, -1) / self.head_dimension**0.5  # (batch, heads, time, time)
        future = torch.ones(time, time, dtype=torch.bool, device=x.device).triu(1)
        weights = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
        y = F.dropout(weights, self.dropout, self.training) @ v  # (batch, heads, time, head_dim.)
        y = y.transpose(1, 2).reshape(batch, time, embedding)  # heads side by side again
        y = self.residual_dropout(self.out(y))
        return (y, weights) if return_weights else y


class MLP(nn.Module):
    """Two linear layers with a GELU between them, applied to every position by itself."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.embedding_dimension, 4 * config.embedding_dimension)
        self.activation = nn.GELU(approximate="tanh")
        self.fc2 = nn.Linear(4 * config.embedding_dimension, config.embedding_dimension)
        self.dropout = nn.Dropout(config.dropout_residual)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float (batch, time, embedding) -> the same shape."""
        return self.dropout(self.fc2(self.activation(self.fc1(x))))


class TransformerEncoderLayer(nn.Module):
    """One block: attention, then the MLP, each added to what came in (residual connections).

    The layer norms stand before their part, not after it (pre-norm; Xiong et al., On Layer
    Normalization in the Transformer Architecture, 2020).
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.embedding_dimension, eps=config.layer_norm_epsilon)
        self.attention = CausalMultiHeadAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.embedding_dimension, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float (batch, time, embedding) -> the same shape."""
        x = x + self.attention(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Transformer(nn.Module):
    """Movie tokens in, one vector per position out; no output layer (that follows the user)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        width = config.embedding_dimension
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positional_embedding = nn.Embedding(config.context_window_size, width)
        self.embedding_dropout = nn.Dropout(config.dropout_embeddings)
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(config) for _ in range(config.num_layers)
        )
        self.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
        places = torch.arange(config.context_window_size).unsqueeze(0)  # (1, window)
        self.register_buffer("positional_ids", places)  # saved with the weights

    def forward(self, movie_ids: torch.Tensor) -> torch.Tensor:
        """Embeds tokens, int (batch, time <= window), and runs the blocks: float (batch, time, embedding).

        Raises ValueError: more positions than the model has position embeddings.
        """
        time, window = movie_ids.shape[-1], self.config.context_window_size
        if time > window:
            raise ValueError(f"{time} movies are too many: cut the history to its last {window}")
        x = self.token_embedding(movie_ids)  # (batch, time, embedding)
        x = x + self.positional_embedding(self.positional_ids[:, :time])  # the same for the batch
        x = self.embedding_dropout(x)
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)
