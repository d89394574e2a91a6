// The forward pass of the series' sequence model, line for line as in sequence_model.py and
// transformer.py, for one history; and what the page asks of it.

import { download, Failure } from "./download.js";

const SLOWEST_TURN = 1e-3; // radians per place, as in sequence_model.py
const TEN = 10;

/**
 * @param description of the file, as in manifest.json
 * @param {(share: number) => void} onProgress 0 to 1
 * @param {?Float32Array} features what is known of each film, a row each, where the file lacks it
 */
export async function loadModel(description, onProgress, features = null) {
  let received = 0;
  const bytes = await download(description, "The model", (count) =>
    onProgress((received += count) / description.bytes));
  return new Model(bytes, description, features);
}

export class Model {
  constructor(bytes, description, features = null) {
    this.description = description;
    const numbers = float16(bytes);
    let offset = 0;
    for (const [name, shape] of description.tensors) {
      const size = shape.reduce((a, b) => a * b, 1);
      this[name] = numbers.subarray(offset, (offset += size));
    }
    if (offset !== numbers.length) throw new Failure("The model could not be started: its file is another one.");
    this.width = this["layer_norm.weight"].length;
    if (features) {
      const known = linear(features, this["feature_embedding.weight"], null, this.width);
      known.forEach((value, i) => (this["movie_embedding.weight"][i] += value));
    }
  }

  /** What the model knows after the last film, and what that place looked at in the last block. */
  hidden(tokens) {
    const { width } = this;
    const vectors = this["movie_embedding.weight"];
    let x = new Float32Array(tokens.length * width);
    tokens.forEach((token, place) => {
      for (let i = 0; i < width; i++) {
        x[place * width + i] = vectors[token * width + i] + (this.gap ? this.gap[i] : 0);
      }
    });
    let attention;
    const last = this.description.layers - 1;
    // Of the last block only the last place is asked for.
    for (let n = 0; n <= last; n++) [x, attention] = this.block(n, x, n === last ? tokens.length - 1 : 0);
    return { vector: this.norm(x, "layer_norm"), attention };
  }

  /** x + attention(norm(x)), then x + mlp(norm(x)), for the places from `from` on. */
  block(n, x, from) {
    const of = (name) => `layers.${n}.${name}`;
    const [y, attention] = this.attend(this.norm(x, of("layer_norm1")), of("attention."), from);
    x = add(x.subarray(from * this.width), y);
    const inner = this.linear(this.norm(x, of("layer_norm2")), of("mlp.fc1")).map(gelu);
    return [add(x, this.linear(inner, of("mlp.fc2"))), attention];
  }

  /** Causal attention with rotary positions; also the weights of the last place, mean of the heads. */
  attend(x, name, from) {
    const { width, description: { heads } } = this;
    const size = width / heads; // of a head
    const time = x.length / width;
    const qkv = this.linear(x, `${name}qkv`); // (time, 3 width)
    rotate(qkv, time, width, size);
    const mixed = new Float32Array((time - from) * width);
    const attention = new Float64Array(time);
    for (let head = 0; head < width; head += size) {
      for (let place = from; place < time; place++) {
        const scores = new Float64Array(place + 1); // nothing of the future
        for (let other = 0; other <= place; other++) {
          const q = place * 3 * width + head;
          const k = other * 3 * width + width + head;
          for (let i = 0; i < size; i++) scores[other] += qkv[q + i] * qkv[k + i];
          scores[other] /= Math.sqrt(size);
        }
        softmax(scores).forEach((weight, other) => {
          const v = other * 3 * width + 2 * width + head;
          for (let i = 0; i < size; i++) mixed[(place - from) * width + head + i] += weight * qkv[v + i];
          if (place === time - 1) attention[other] += weight / heads;
        });
      }
    }
    return [this.linear(mixed, `${name}out`), attention];
  }

  linear(x, name) {
    return linear(x, this[`${name}.weight`], this[`${name}.bias`], this[`${name}.bias`].length);
  }

  norm(x, name) {
    const { width, description: { epsilon } } = this;
    const [weight, bias] = [this[`${name}.weight`], this[`${name}.bias`]];
    const y = new Float32Array(x.length);
    for (let row = 0; row < x.length; row += width) {
      let mean = 0;
      let variance = 0;
      for (let i = 0; i < width; i++) mean += x[row + i] / width;
      for (let i = 0; i < width; i++) variance += (x[row + i] - mean) ** 2 / width;
      const scale = 1 / Math.sqrt(variance + epsilon);
      for (let i = 0; i < width; i++) y[row + i] = (x[row + i] - mean) * scale * weight[i] + bias[i];
    }
    return y;
  }

  /** Of every film as the next one, 0 for those that are left out; and the attention to the history. */
  read(history, leftOut = history) {
    const { vector, attention } = this.hidden(history);
    const all = this["movie_embedding.weight"];
    // Over the whole vocabulary, before anything is left out, as the notebooks do.
    const probabilities = softmax(Float64Array.from(linear(vector, all, null, all.length / this.width)))
      .subarray(0, this.description.num_movies);
    for (const token of leftOut) probabilities[token] = 0;
    return { probabilities, attention };
  }

  /**
   * The answer to a history of movie tokens: the ten, [token, probability] each, and the attention.
   * `without(place)` says what happens to them when one film is taken away; see `Without` below.
   */
  answer(history) {
    const { probabilities, attention } = this.read(history);
    const ten = best(probabilities).map((token) => [token, probabilities[token]]);
    const known = new Map();
    return {
      ten,
      attention: [...attention],
      without: (place) => {
        if (history.length < 2) return null;
        if (!known.has(place)) known.set(place, this.without(history, place, ten));
        return known.get(place);
      },
    };
  }

  /** `ten`: the tokens of the ten without that film; `of`: what the ten with it get, [probability, place]. */
  without(history, place, ten) {
    const { probabilities } = this.read(history.filter((_, other) => other !== place), history);
    const placeOf = (probability) => probabilities.reduce((n, other) => n + (other > probability), 1);
    return {
      ten: best(probabilities),
      of: ten.map(([token]) => [probabilities[token], placeOf(probabilities[token])]),
    };
  }
}

/** (rows, inner) times (outer, inner) transposed, plus bias. */
function linear(x, weight, bias, outer) {
  const inner = weight.length / outer;
  const y = new Float32Array((x.length / inner) * outer);
  for (let row = 0, at = 0; row < x.length; row += inner) {
    for (let column = 0; column < weight.length; column += inner, at++) {
      let sum = 0;
      for (let i = 0; i < inner; i++) sum += x[row + i] * weight[column + i];
      y[at] = bias ? sum + bias[at % outer] : sum;
    }
  }
  return y;
}

/** Turns pairs of numbers of queries and keys by an angle that grows with the place, in place. */
function rotate(qkv, time, width, size) {
  const half = size / 2;
  for (let place = 0; place < time; place++) {
    for (let head = 0; head < 2 * width; head += size) { // of q, then of k
      for (let i = 0; i < half; i++) {
        const angle = place * SLOWEST_TURN ** (i / half);
        const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
        const at = place * 3 * width + head + i;
        const [first, second] = [qkv[at], qkv[at + half]];
        qkv[at] = first * cos - second * sin;
        qkv[at + half] = second * cos + first * sin;
      }
    }
  }
}

const add = (a, b) => a.map((value, i) => value + b[i]);

const gelu = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

function softmax(scores) {
  const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = scores.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** Tokens of the largest probabilities, the largest first. */
function best(probabilities) {
  const tokens = Array.from(probabilities.keys());
  return tokens.sort((a, b) => probabilities[b] - probabilities[a]).slice(0, TEN);
}

/** Numbers of two bytes, little-endian; browsers know them since 2025 only. */
function float16(bytes) {
  const values = Float32Array.from({ length: 65536 }, (_, bits) => {
    const exponent = (bits >> 10) & 31;
    const fraction = (bits & 1023) / 1024;
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
    return bits >> 15 ? -size : size;
  });
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => values[view.getUint16(2 * i, true)]);
}
