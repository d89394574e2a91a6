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
    attend,
    rotate,
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


def test_turned_vectors_know_how_far_apart_they_are_and_no_more():
    torch.manual_seed(0)
    query, key = torch.randn(2, 8)
    turned = rotate(torch.stack([query, key])[None, :, None].expand(1, 2, 50, 8))[0]
    products = turned[0] @ turned[1].T  # (50, 50), query's place by key's place
    for distance in (-20, -1, 0, 1, 7):
        assert torch.allclose(
            products.diagonal(distance), products.diagonal(distance)[0], atol=1e-5
        )
    assert not torch.allclose(products.diagonal(1)[0], products.diagonal(2)[0], atol=1e-2)
    assert torch.equal(turned[:, 0], torch.stack([query, key]))  # the first place is not turned
    assert torch.allclose(turned.norm(dim=-1), torch.stack([query, key]).norm(dim=-1)[:, None])


def test_rotary_positions_have_no_embedding_and_tell_orders_apart():
    torch.manual_seed(0)
    stack = Transformer(small(num_layers=1, rotary=True)).eval()
    assert not any("positional_embedding" in name for name in stack.state_dict())
    with torch.no_grad():
        one, other = stack(torch.tensor([[1, 2, 3], [2, 1, 3]]))
    assert not torch.allclose(one[-1], other[-1], atol=1e-4)


def test_positions_matter():
    torch.manual_seed(0)
    model = Transformer(small(num_layers=1)).eval()
    with torch.no_grad():
        assert not torch.allclose(
            model(torch.tensor([[1, 1, 1, 1]]))[:, 0], model(torch.tensor([[1, 1, 1, 1]]))[:, 3]
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotary": True, "embedding_dimension": 6}, "heads of 3 cannot be cut into pairs"),
        ({"num_heads": 3}, "cannot be cut into 3 heads"),
        ({"vocab_size": 0}, "vocab_size must be at least 1"),
        ({"dropout_attention": 1.0}, "dropout_attention must be in"),
    ],
)
def test_impossible_shapes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_a_window_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="at most 4"):
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


@pytest.mark.parametrize("hidden_sizes", [[16], [], [5, 4]])
def test_the_loss_is_that_of_the_logits(hidden_sizes):
    torch.manual_seed(0)
    model = MovieLensTransformer(MovieLensTransformerConfig(small(), 3, 6, hidden_sizes)).eval()
    movies, users, targets = (torch.randint(6, shape) for shape in ((9, 4), (9,), (9,)))
    plain = nn.functional.cross_entropy(model(movies, users), targets, ignore_index=2)
    ours = model.loss(movies, users, targets, ignore_index=2)
    torch.testing.assert_close(ours, plain)
    parameters = list(model.parameters())
    for one, other in zip(
        torch.autograd.grad(plain, parameters), torch.autograd.grad(ours, parameters), strict=True
    ):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-4)


def test_mixed_precision_leaves_attention_in_float32():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, 4, 4).bfloat16()
    plain = attend(q.float(), k.float(), v.float(), dropout=0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attend(q, k, v, dropout=0.0), plain)


def test_the_user_stands_beside_each_position():
    torch.manual_seed(0)
    config = MovieLensTransformerConfig(small(), user_embedding_dimension=3, num_users=2)
    model = MovieLensTransformer(config).eval()
    movies, users = torch.tensor([[1, 2, 3, 4]]), torch.tensor([1])
    vectors = model.movie_transformer(movies)[0]
    user = model.user_embedding.weight[1]
    by_hand = torch.cat([torch.cat([vector, user]) for vector in vectors])
    torch.testing.assert_close(model(movies, users)[0], model.output_layer.fc_layers[0](by_hand))
    torch.testing.assert_close(model(movies, users), model.score(movies, user[None]))
    with pytest.raises(ValueError, match="reads exactly 4"):
        model(movies[:, :3], users)


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
