"""The causal transformer: attention, feed-forward network, block, stack. Reads top to bottom."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

SLOWEST_TURN = 1e-3  # radians per place of the slowest pair in rotary positions


@dataclass(frozen=True)
class TransformerConfig:
    """Shape of the transformer."""

    vocab_size: int  # movie tokens, start and end included
    context_window_size: int  # movies in a window
    embedding_dimension: int  # width of the vectors that run through the model
    num_layers: int  # blocks
    num_heads: int  # attention heads; must divide embedding_dimension
    dropout_embeddings: float = 0.1  # after token + position
    dropout_attention: float = 0.1  # on the attention weights
    dropout_residual: float = 0.1  # on what a block adds to its input
    layer_norm_epsilon: float = 1e-5  # keeps the division by the standard deviation finite
    rotary: bool = False  # attention sees how far apart two movies are, not where each one stands

    def __post_init__(self):
        for name in ("vocab_size", "context_window_size", "embedding_dimension", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.num_layers < 0:
            raise ValueError(f"num_layers must not be negative, found {self.num_layers}")
        for name in ("dropout_embeddings", "dropout_attention", "dropout_residual"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), found {getattr(self, name)}")
        if self.embedding_dimension % self.num_heads:
            raise ValueError(
                f"embedding_dimension {self.embedding_dimension} cannot be cut into "
                f"{self.num_heads} heads of equal width: choose a multiple"
            )
        if self.rotary and self.embedding_dimension // self.num_heads % 2:
            raise ValueError(
                f"rotary positions turn pairs of numbers: heads of "
                f"{self.embedding_dimension // self.num_heads} cannot be cut into pairs"
            )


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout: float,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Causal attention, all float (batch, heads, time, head_dimension); on a CPU never in bfloat16."""
    if q.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # On a CPU attention in bfloat16 takes longer than in float32 (benchmarks/README.md).
        with torch.autocast("cpu", enabled=False):
            return attend(q.float(), k.float(), v.float(), dropout, bias)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=bias, dropout_p=dropout, is_causal=bias is None
    )


def rotate(x: torch.Tensor) -> torch.Tensor:
    """Turns each pair of numbers by an angle that grows with the place in time.

    The product of a query and a key that are both turned depends on how far apart they are, and no
    longer on where they stand: "the movie before" is the same angle everywhere. Fast pairs tell
    neighbours apart, slow ones this month from last year. Source: Su et al., RoFormer: Enhanced
    Transformer with Rotary Position Embedding, 2021.

    Args:
        x: float (batch, heads, time, head_dimension), head_dimension even.
    """
    half = x.shape[-1] // 2
    speeds = SLOWEST_TURN ** (torch.arange(half, device=x.device) / half)  # radians per place
    angles = torch.outer(torch.arange(x.shape[-2], device=x.device), speeds)  # (time, half)
    cos, sin = angles.cos(), angles.sin()
    first, second = x.float().split(half, dim=-1)
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return turned.to(x.dtype)


class CausalMultiHeadAttention(nn.Module):
    """Each position gathers what it needs from itself and the positions before it.

    Source: Vaswani et al., Attention Is All You Need, 2017.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dimension = config.embedding_dimension // config.num_heads
        self.dropout = config.dropout_attention
        self.rotary = config.rotary
        self.qkv = nn.Linear(config.embedding_dimension, 3 * config.embedding_dimension)
        self.out = nn.Linear(config.embedding_dimension, config.embedding_dimension)
        self.residual_dropout = nn.Dropout(config.dropout_residual)

    def forward(
        self,
        x: torch.Tensor,
        return_weights: bool = False,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Mixes the positions of x, each with its past.

        Args:
            x: float (batch, time, embedding).
            return_weights: also return what was looked at, float (batch, heads, time, time),
                rows summing to one, dropout left out.
            bias: added to the scores before the softmax, float (batch, heads, time, time).
        """
        batch, time, embedding = x.shape
        q, k, v = (
            part.view(batch, time, self.num_heads, self.head_dimension).transpose(1, 2)
            for part in self.qkv(x).split(embedding, dim=-1)
        )  # each (batch, heads, time, head_dimension)
        if self.rotary:
            q, k = rotate(q), rotate(k)
        dropout = self.dropout if self.training else 0.0
        if bias is not None:
            bias = bias.masked_fill(_future(time, x.device), float("-inf"))
        y = attend(q, k, v, dropout, bias)
        y = y.transpose(1, 2).reshape(batch, time, embedding)  # heads side by side again
        y = self.residual_dropout(self.out(y))
        if not return_weights:
            return y
        scores = q @ k.transpose(-2, -1) / self.head_dimension**0.5  # (batch, heads, time, time)
        scores = scores if bias is None else scores + bias
        return y, scores.masked_fill(_future(time, x.device), float("-inf")).softmax(dim=-1)


def _future(time: int, device: torch.device) -> torch.Tensor:
    """True where a position (row) would look ahead, bool (time, time)."""
    return torch.ones(time, time, dtype=torch.bool, device=device).triu(1)


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
    """One block: attention, then the feed-forward network, each added to what came in.

    The layer norms stand before their part, not after it (pre-norm; Xiong et al., On Layer
    Normalization in the Transformer Architecture, 2020).
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.embedding_dimension, eps=config.layer_norm_epsilon)
        self.attention = CausalMultiHeadAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.embedding_dimension, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """float (batch, time, embedding) -> the same shape; bias as in the attention."""
        # Without a bias any attention will do, also one that knows nothing of biases (notebook 04).
        options = {} if bias is None else {"bias": bias}
        x = x + self.attention(self.layer_norm1(x), **options)
        return x + self.mlp(self.layer_norm2(x))


class Transformer(nn.Module):
    """Movie tokens in, one vector per position out; no output layer (that follows the user)."""

    positional_ids: torch.Tensor

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.embedding_dimension)
        self.positional_embedding = None  # rotary: places are seen by attention only
        if not config.rotary:
            self.positional_embedding = nn.Embedding(
                config.context_window_size, config.embedding_dimension
            )
        self.embedding_dropout = nn.Dropout(config.dropout_embeddings)
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(config) for _ in range(config.num_layers)
        )
        self.layer_norm = nn.LayerNorm(config.embedding_dimension, eps=config.layer_norm_epsilon)
        self.register_buffer(
            "positional_ids", torch.arange(config.context_window_size).unsqueeze(0)
        )  # (1, window), persistent: it is part of a checkpoint

    def forward(
        self,
        movie_ids: torch.Tensor,
        positions: torch.Tensor | None = None,
        features: torch.Tensor | None = None,
        attention_bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Embeds the tokens and runs them through the blocks.

        Args:
            movie_ids: movie tokens, int32 or int64 (batch, time), time <= context_window_size.
            positions: which position embedding each token gets, int64 (batch, time); 0, 1, ...
                when None. Rotary positions have no such embedding.
            features: what else is known about each position, added to its embedding, float
                (batch, time, embedding).
            attention_bias: added to the scores of attention in all blocks, float (batch, heads,
                time, time).

        Returns:
            float (batch, time, embedding).

        Raises:
            ValueError: more positions than the model has position embeddings.
        """
        time = movie_ids.shape[-1]
        if time > self.config.context_window_size:
            raise ValueError(
                f"the window has {time} movies, the model was built for at most "
                f"{self.config.context_window_size}: cut the history to its last movies"
            )
        x = self.token_embedding(movie_ids)  # (batch, time, embedding)
        if self.positional_embedding is not None:
            if positions is None:
                positions = self.positional_ids[:, :time]  # (1, time), the same for the whole batch
            x = x + self.positional_embedding(positions)
        if features is not None:
            x = x + features
        x = self.embedding_dropout(x)
        for layer in self.layers:
            x = layer(x, attention_bias)
        return self.layer_norm(x)
