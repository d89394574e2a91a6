"""The transformer and what is built on it: values, causality, names of the post's checkpoint."""

import math

import pytest
import torch
from dacite import from_dict
from torch import nn

from recformer_utils.movielens_transformer import (
    InteractionMLP,
    MovieLensTransformer,
    MovieLensTransformerConfig,
    init_weights,
)
from recformer_utils.transformer import (
    CausalMultiHeadAttention,
    Transformer,
    TransformerConfig,
)

POST = {
    "movie_transformer_config": {
        "vocab_size": 3885,
        "context_window_size": 5,
        "embedding_dimension": 32,
        "num_layers": 4,
        "num_heads": 4,
        "dropout_embeddings": 0.1,
        "dropout_attention": 0.1,
        "dropout_residual": 0.1,
        "layer_norm_epsilon": 1e-5,
    },
    "user_embedding_dimension": 32,
    "num_users": 6040,
    "interaction_mlp_hidden_sizes": [16],
}


def small(**changes) -> TransformerConfig:
    settings = {"vocab_size": 12, "context_window_size": 4, "embedding_dimension": 8}
    return TransformerConfig(**{**settings, "num_layers": 2, "num_heads": 2, **changes})


def naive_attention(attention: CausalMultiHeadAttention, x: torch.Tensor) -> torch.Tensor:
    """Attention position by position and head by head, with loops only."""
    batch, time, width = x.shape
    head = width // attention.num_heads
    q, k, v = attention.qkv(x).split(width, dim=-1)
    out = torch.zeros_like(x)
    for b in range(batch):
        for h in range(attention.num_heads):
            part = slice(h * head, (h + 1) * head)
            for t in range(time):
                scores = [
                    float(q[b, t, part] @ k[b, s, part]) / math.sqrt(head) for s in range(t + 1)
                ]
                top = max(scores)
                weights = [math.exp(score - top) for score in scores]
                for s, weight in enumerate(weights):
                    out[b, t, part] += weight / sum(weights) * v[b, s, part]
    return attention.out(out)


def test_attention_equals_loops():
    torch.manual_seed(0)
    attention = CausalMultiHeadAttention(small()).eval()
    x = torch.randn(3, 4, 8)
    with torch.no_grad():
        torch.testing.assert_close(attention(x), naive_attention(attention, x))


def test_weights_sum_to_one_and_never_look_ahead():
    torch.manual_seed(0)
    attention = CausalMultiHeadAttention(small()).eval()
    y, weights = attention(torch.randn(2, 4, 8), return_weights=True)
    assert weights.shape == (2, 2, 4, 4)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 4))
    assert (weights.triu(1) == 0).all()
    assert y.shape == (2, 4, 8)


def test_changing_the_future_leaves_the_past_equal_to_the_bit():
    torch.manual_seed(0)
    model = Transformer(small()).eval()
    before = torch.tensor([[1, 2, 3, 4]])
    after = torch.tensor([[1, 2, 3, 9]])
    with torch.no_grad():
        assert torch.equal(model(before)[:, :3], model(after)[:, :3])
        assert not torch.equal(model(before)[:, 3], model(after)[:, 3])


def test_positions_matter():
    torch.manual_seed(0)
    model = Transformer(small(num_layers=1)).eval()
    with torch.no_grad():
        assert not torch.allclose(
            model(torch.tensor([[1, 1, 1, 1]]))[:, 0], model(torch.tensor([[1, 1, 1, 1]]))[:, 3]
        )


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="num_heads 3 does not divide embedding_dimension 8"):
        small(num_heads=3)


def test_a_window_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="5 movies are too many: cut the history to its last 4"):
        Transformer(small())(torch.ones(1, 5, dtype=torch.int64))


def test_checkpoint_of_the_post_loads_strictly():
    """Names and shapes written out by hand from the model that the post prints."""
    expected = {
        "movie_transformer.positional_ids": (1, 5),
        "movie_transformer.token_embedding.weight": (3885, 32),
        "movie_transformer.positional_embedding.weight": (5, 32),
        "movie_transformer.layer_norm.weight": (32,),
        "movie_transformer.layer_norm.bias": (32,),
        "user_embedding.weight": (6040, 32),
        "output_layer.fc_layers.0.weight": (16, 320),
        "output_layer.fc_layers.0.bias": (16,),
        "output_layer.fc_layers.2.weight": (3885, 16),
    }
    for layer in range(4):
        block = f"movie_transformer.layers.{layer}"
        for norm in ("layer_norm1", "layer_norm2"):
            expected |= {f"{block}.{norm}.weight": (32,), f"{block}.{norm}.bias": (32,)}
        for name, (out, into) in {
            "attention.qkv": (96, 32),
            "attention.out": (32, 32),
            "mlp.fc1": (128, 32),
            "mlp.fc2": (32, 128),
        }.items():
            expected |= {f"{block}.{name}.weight": (out, into), f"{block}.{name}.bias": (out,)}
    model = MovieLensTransformer(from_dict(MovieLensTransformerConfig, POST))
    assert {name: tuple(t.shape) for name, t in model.state_dict().items()} == expected
    weights = {name: torch.zeros(shape) for name, shape in expected.items()}
    weights["movie_transformer.positional_ids"] = torch.arange(5).unsqueeze(0)
    model.load_state_dict(weights, strict=True)


def test_the_first_loss_is_ln_of_the_vocabulary():
    torch.manual_seed(0)
    model = MovieLensTransformer(from_dict(MovieLensTransformerConfig, POST)).eval()
    init_weights(model)
    movies, users = torch.randint(3885, (512, 5)), torch.randint(6040, (512,))
    loss = nn.functional.cross_entropy(model(movies, users), torch.randint(3885, (512,)))
    assert abs(loss.item() - math.log(3885)) < 0.05


def test_the_user_stands_beside_each_position():
    torch.manual_seed(0)
    config = MovieLensTransformerConfig(
        movie_transformer_config=small(), user_embedding_dimension=3, num_users=2
    )
    model = MovieLensTransformer(config).eval()
    movies, users = torch.tensor([[1, 2, 3, 4]]), torch.tensor([1])
    vectors = model.movie_transformer(movies)[0]
    user = model.user_embedding.weight[1]
    by_hand = torch.cat([torch.cat([vector, user]) for vector in vectors])
    torch.testing.assert_close(model(movies, users)[0], model.output_layer.fc_layers[0](by_hand))
    torch.testing.assert_close(model(movies, users), model.score(movies, user[None]))
    with pytest.raises(ValueError, match="3 movies are too few: put start tokens in front"):
        model(movies[:, :3], users)


def test_dropout_works_in_training_only():
    torch.manual_seed(0)
    attention = CausalMultiHeadAttention(small(dropout_residual=0.0, dropout_attention=0.5))
    x = torch.randn(2, 4, 8)
    one, weights = attention(x, return_weights=True)
    assert not torch.equal(one, attention(x))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 4))  # returned before dropout
    attention.eval()
    assert torch.equal(attention(x), attention(x))


def test_interaction_mlp_has_a_relu_after_all_layers_but_the_last():
    layers = InteractionMLP(6, [5, 4], 3).fc_layers
    assert [type(layer).__name__ for layer in layers] == [
        "Linear",
        "ReLU",
        "Linear",
        "ReLU",
        "Linear",
    ]
    assert layers[-1].bias is None
