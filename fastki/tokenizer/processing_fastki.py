"""A fastki tokenizer as a Hugging Face processor: NumPy, `tokenizers` and `transformers`, no fastki.

This file lies in every saved tokenizer folder, so that openpi and LeRobot load it as they load
``physical-intelligence/fast``:

    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    tokens = processor(actions)                                   # [N, H, A] → list of lists of ids
    actions = processor.decode(tokens, time_horizon=H, action_dim=A)

Actions are **normalised** (``norm_stats.json`` beside it holds the statistics). The ids are those of
``fastki.FastTokenizer.encode_normalized``; the format is described in ``fastki/tokenizer/stream.py``.
"""

import json
import pathlib
import shutil

import numpy as np
import tokenizers
from transformers.processing_utils import ProcessorMixin

FORMAT_VERSION = 1
FIRST_CODE_POINT = 0x4E00
MAX_COEFFICIENT = 2**46
MAX_FINER = 32
MIN_TOKEN = -(2**19)
LAST_CODE_POINT = 0x10FFFF
FILES = (
    "fastki.json",
    "tokenizer.json",
    "norm_stats.json",
    "processor_config.json",
    "processing_fastki.py",
    "README.md",
)


class FastkiProcessor(ProcessorMixin):
    """Action chunks ⇄ token ids, from the data files of a fastki tokenizer folder."""

    attributes = []  # noqa: RUF012 - the name and type are transformers' own

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        document = json.loads((self.folder / "fastki.json").read_text(encoding="utf-8"))
        if document.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{self.folder}/fastki.json has format version {document.get('format_version')}, this processor "
                f"reads version {FORMAT_VERSION}: export the tokenizer again with a matching fastki"
            )
        self.codec = codec = document["codec"]
        self.time_horizon = codec["horizon"]
        self.action_dim = codec["action_dim"]
        self._scale = codec["scale"]
        self.literals = codec["literals"]
        self.order = codec["order"]
        self.atol = codec["atol"]
        self.chat_template = None
        self._bpe = tokenizers.Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        self.vocab_size = self._bpe.get_vocab_size()
        texts = sorted(self._bpe.get_vocab().items(), key=lambda item: item[1])
        self._expansions = [np.array([ord(c) - FIRST_CODE_POINT for c in text]) for text, _ in texts]
        self.bpe_tokenizer = _CoefficientText(self)
        self.min_token, self.scale = MIN_TOKEN, self._scale * 2.0**self.bpe_tokenizer.finest

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        folder = pathlib.Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            wanted = {key: kwargs[key] for key in ("revision", "cache_dir", "token") if kwargs.get(key)}
            folder = pathlib.Path(
                snapshot_download(str(pretrained_model_name_or_path), allow_patterns=list(FILES), **wanted)
            )
        return cls(folder / (kwargs.get("subfolder") or ""))

    def save_pretrained(self, save_directory, **kwargs):
        """Copy the tokenizer folder's files; a LeRobot checkpoint keeps its processor this way."""
        target = pathlib.Path(save_directory)
        target.mkdir(parents=True, exist_ok=True)
        written = [target / name for name in FILES if (self.folder / name).exists()]
        for path in written:
            if path.resolve() != (self.folder / path.name).resolve():
                shutil.copyfile(self.folder / path.name, path)
        return [str(path) for path in written]

    def __call__(self, action_chunk, *, previous=None):
        """Token ids of normalised chunks [N, H, A] or of one [H, A]: a list of lists of int.

        A tokenizer fitted with `--reference previous` needs `previous`, the normalised action before each chunk [N, A],
        here and in `decode`.
        """
        chunks = np.asarray(action_chunk, dtype=np.float64)
        chunks = chunks[None] if chunks.ndim == 2 else chunks
        if chunks.ndim != 3:
            raise ValueError(f"actions must be [N, H, A] or [H, A], not of shape {chunks.shape}")
        if not np.isfinite(chunks).all():
            chunk, step, dim = np.argwhere(~np.isfinite(chunks))[0]
            raise ValueError(f"chunk {chunk}, step {step}, dimension {dim} is {chunks[chunk, step, dim]}")
        chunks = chunks - self._reference(previous)
        spectra = np.matmul(_dct_matrix(chunks.shape[1]), chunks)
        if self.atol is None:
            if spectra.size and np.abs(spectra).max() * self._scale > MAX_COEFFICIENT:
                raise ValueError("a coefficient is too large to write: are the actions normalised?")
            coefficients = self._round(spectra * self._scale)
            finer = np.zeros((len(chunks), chunks.shape[2]), dtype=np.int64)
        else:
            pairs = [_Bounded(self._scale, self.atol).chunk(*pair) for pair in zip(chunks, spectra, strict=True)]
            coefficients = [coefficients for coefficients, _ in pairs]
            finer = [finer for _, finer in pairs]
        texts = [self._write(*pair) for pair in zip(coefficients, finer, strict=True)]
        return [encoding.ids for encoding in self._bpe.encode_batch(texts, add_special_tokens=False)]

    def decode(self, tokens, *, time_horizon=None, action_dim=None, previous=None):
        """Normalised chunks float64 [N, H, A] of token lists; malformed ones are repaired, never refused."""
        horizon, dims = time_horizon or self.time_horizon, action_dim or self.action_dim
        read = [self._read(ids, horizon, dims) for ids in tokens]
        values = np.array([values for values, _ in read]).reshape(-1, horizon, dims) / self._scale
        values *= np.exp2(-np.array([finer for _, finer in read]).reshape(-1, 1, dims))
        return np.matmul(_dct_matrix(horizon).T, values) + self._reference(previous)

    def _reference(self, previous):
        if self.codec["reference"] == "none":
            return 0.0
        if previous is None:
            raise ValueError("this tokenizer writes chunks relative to the action before them: give previous= [N, A]")
        return np.atleast_2d(np.asarray(previous, dtype=np.float64))[:, None]

    def _round(self, scaled):
        """Integers of scaled coefficients [N, H, A]: `fastki/tokenizer/rounding.py`."""
        codec = self.codec
        if codec["rdo"]:
            return _round_for_rate(scaled, codec["rdo"], np.array(codec["zero_share"])[:, None], self.order)
        rounded = np.rint(scaled)
        if codec["deadzone"]:
            rounded[np.abs(scaled) < 0.5 + codec["deadzone"]] = 0
        return rounded.astype(np.int64)

    def _write(self, coefficients, finer):
        """Stream of one chunk's coefficients [H, A] and refinements [A], as text."""
        m = self.literals
        if self.order == "dim":
            symbols = self._write_dimensions(coefficients, finer)
        else:
            symbols = [symbol for dim, n in enumerate(finer) for symbol in n * [2 * m + 2, *self._number(dim)]]
            symbols += [symbol for q in _until_zeros(coefficients.ravel()) for symbol in self._number(q)]
        return "".join(chr(FIRST_CODE_POINT + symbol) for symbol in symbols)

    def _write_dimensions(self, coefficients, finer):
        symbols, end = [], 0
        for dim, series in enumerate(coefficients.T):
            own = [2 * self.literals + 2] * int(finer[dim])
            own += [symbol for q in _until_zeros(series) for symbol in self._number(q)]
            symbols += own
            end = len(symbols) if own else end
            symbols.append(2 * self.literals + 3)
        return symbols[:end]

    def _number(self, value):
        """Symbols of one integer: itself if it is a literal, else escapes and balanced digits."""
        m, value, digits = self.literals, int(value), []
        while not digits or value:
            digit = (value + m) % (2 * m + 1) - m
            digits.append(digit + m)
            value = (value - digit) // (2 * m + 1)
        return [2 * m + 1] * (len(digits) - 1) + digits[::-1]

    def _read(self, ids, horizon, dims):
        """Coefficients float64 [H, A] and refinements [A] of a token sequence; what is malformed is skipped."""
        known = [self._expansions[int(i)] for i in ids if 0 <= int(i) < len(self._expansions)]
        symbols = np.concatenate(known).tolist() if known else []
        reader = _DimensionReader if self.order == "dim" else _FrequencyReader
        return reader(self.literals, horizon, dims).read(symbols)


class _Reader:
    """One stream's state: `fastki/tokenizer/stream_kernels.py` in Python."""

    def __init__(self, literals, horizon, dims):
        self.literals, self.radix = literals, 2 * literals + 1
        self.horizon, self.dims = horizon, dims
        self.max_escapes, reach = 0, literals
        while reach < MAX_COEFFICIENT:
            self.max_escapes, reach = self.max_escapes + 1, reach * self.radix + literals
        self.values = np.zeros((horizon, dims))
        self.finer = np.zeros(dims)
        self.escapes = self.value = self.filled = self.refined = 0
        self.in_digits = False

    def open_number(self):
        return self.in_digits or self.escapes > 0

    def may_refine(self):
        return not self.filled and not self.open_number() and self.refined < MAX_FINER * self.dims

    def digit(self, symbol):
        """The number that this literal completes, or None while digits are to come."""
        self.value = self.value * self.radix + symbol - self.literals
        self.in_digits = self.escapes > 0
        if self.in_digits:
            self.escapes -= 1
            return None
        value, self.value = self.value, 0
        return value


class _FrequencyReader(_Reader):
    def read(self, symbols):
        in_header = False
        for symbol in symbols:
            if self.filled == self.horizon * self.dims:
                break
            if symbol == self.radix:
                self.escapes += not self.in_digits and self.escapes < self.max_escapes
            elif symbol > self.radix:
                if symbol == self.radix + 1 and self.may_refine() and not in_header:
                    in_header = True
                    self.refined += 1
            else:
                value = self.digit(symbol)
                if value is None:
                    continue
                if in_header:
                    self.finer[value % self.dims] += 1
                    in_header = False
                else:
                    self.values[divmod(self.filled, self.dims)] = value
                    self.filled += 1
        return self.values, self.finer


class _DimensionReader(_Reader):
    def read(self, symbols):
        dim = 0
        for symbol in symbols:
            if dim == self.dims:
                break
            if symbol == self.radix + 2:
                dim, self.filled, self.escapes, self.value, self.in_digits = dim + 1, 0, 0, 0, False
            elif symbol == self.radix + 1:
                if self.may_refine():
                    self.finer[dim] += 1
                    self.refined += 1
            elif self.filled == self.horizon:
                continue
            elif symbol == self.radix:
                self.escapes += not self.in_digits and self.escapes < self.max_escapes
            else:
                value = self.digit(symbol)
                if value is not None:
                    self.values[self.filled, dim] = value
                    self.filled += 1
        return self.values, self.finer


class _Bounded:
    """Coefficients that keep every value within a bound: `fastki/tokenizer/bound_kernels.py` with NumPy.

    Sums run in the order of the compiled loops (a cumulative sum's last item), so that both make the same choices.
    """

    def __init__(self, scale, atol):
        self.scale, self.atol = scale, atol

    def chunk(self, chunk, spectra):
        """Coefficients int64 [H, A] and refinements [A] of one chunk [H, A] with its DCT [H, A]."""
        self.matrix = _dct_matrix(len(chunk))
        columns = [self._series(series, spectrum) for series, spectrum in zip(chunk.T, spectra.T, strict=True)]
        return np.stack([quantized for quantized, _ in columns], axis=1), [level for _, level in columns]

    def _series(self, series, spectrum):
        peak = np.abs(spectrum).max()
        self.bound = self.atol * (1 - 1e-9) - 1e-15 * len(series) * peak
        level = 0
        while self.bound > 0 and peak * self.scale * 2.0**level <= MAX_COEFFICIENT and level <= MAX_FINER:
            fine = self.scale * 2.0**level
            self.step = 1.0 / fine
            quantized = np.rint(spectrum * fine).astype(np.int64)
            error = self._error(quantized, series)
            repaired = self._repair(quantized, error, len(series), 64, False)
            if repaired is not None:
                quantized, error = self._thin(*repaired)
                if np.abs(self._error(quantized, series)).max() <= self.bound:
                    return quantized, level
            level += 1
        raise ValueError(f"values up to {np.abs(series).max():.4g} can't be kept within {self.atol:g}")

    def _error(self, quantized, series):
        terms = (quantized * self.step)[:, None] * self.matrix
        return np.cumsum(terms, axis=0)[-1] - series

    def _badness(self, errors):
        squares = errors / self.bound
        squares = squares * squares
        squares = squares * squares
        return np.cumsum(squares * squares, axis=-1)[..., -1]

    def _repair(self, quantized, error, end, moves, only_nonzero):
        quantized, error = quantized.copy(), error.copy()
        if np.abs(error).max() <= self.bound:
            return quantized, error
        shifts = np.stack([-1 * self.step * self.matrix[:end], 1 * self.step * self.matrix[:end]], axis=1)
        for _ in range(moves):
            candidates = self._badness(error + shifts)
            outward = quantized[:end, None] * np.array([-1, 1]) >= 0
            candidates = np.where(outward, 1.001, 1.0) * candidates
            if only_nonzero:
                candidates[quantized[:end] == 0] = np.inf
            if not candidates.size or candidates.min() >= self._badness(error):
                return None
            k, side = np.unravel_index(candidates.argmin(), candidates.shape)
            quantized[k] += (-1, 1)[side]
            error += shifts[k, side]
            if np.abs(error).max() <= self.bound:
                return quantized, error
        return None

    def _thin(self, quantized, error):
        for k in range(len(error) - 1, 0, -1):
            if abs(quantized[k]) != 1:
                continue
            trial = quantized.copy()
            trial[k] = 0
            moved = error + (-quantized[k] * self.step) * self.matrix[k]
            repaired = self._repair(trial, moved, k, 4, True)
            if repaired is not None:
                quantized, error = repaired
        return quantized, error


class _CoefficientText:
    """The `bpe_tokenizer` that callers of the reference processor reach into (LeRobot's π0-FAST policy does).

    They turn ids into text themselves and read coefficients off it: ``ord(character) + processor.min_token``,
    frequency-major, at ``processor.scale``. That is the tokenizer's own scale times a power of two where dimensions can
    be refined, as those have coefficients between the integers of the own: see ``finest``.
    """

    def __init__(self, processor):
        self._processor = processor
        self.vocab_size = processor.vocab_size
        self.finest = 0 if processor.atol is None else self._spare_bits()

    def __len__(self):
        return self.vocab_size

    def decode(self, token_ids, **kwargs):
        """One character for each of the H·A coefficients of one token sequence."""
        processor = self._processor
        values, finer = processor._read(token_ids, processor.time_horizon, processor.action_dim)
        whole = np.rint(values * np.exp2(self.finest - finer)).clip(MIN_TOKEN, LAST_CODE_POINT + MIN_TOKEN)
        return "".join(chr(value - MIN_TOKEN) for value in whole.astype(np.int64).ravel().tolist())

    def _spare_bits(self):
        """Refinements that characters have room for where normalised values reach 16."""
        most = 16 * self._processor._scale * self._processor.time_horizon**0.5
        return max(0, int(np.log2(-MIN_TOKEN / most)))


def _round_for_rate(scaled, price, zero, order):
    """Integers of least squared error + price · bits; zero [H, 1] is the share of zeros at each frequency."""
    best, cost = np.zeros(scaled.shape), scaled**2 - price * np.log2(zero)
    for candidate in (np.floor(scaled), np.ceil(scaled)):
        bits = 2 - np.log2(1 - zero) + 2 * np.log2(np.maximum(np.abs(candidate), 1))
        mine = np.where(candidate == 0, np.inf, (scaled - candidate) ** 2 + price * bits)
        best, cost = np.where(mine < cost, candidate, best), np.minimum(mine, cost)
    saved = scaled**2 - cost
    axes = (0, 1, 2) if order == "freq" else (0, 2, 1)
    shape = np.transpose(saved, axes).shape
    streams = np.transpose(saved, axes).reshape((shape[0], -1) if order == "freq" else (-1, shape[2]))
    totals = np.cumsum(streams, axis=1)
    ends = np.where(totals.max(axis=1) > 0, totals.argmax(axis=1), -1)
    written = (np.arange(streams.shape[1]) <= ends[:, None]).reshape(shape)
    return np.where(np.transpose(written, axes), best, 0).astype(np.int64)


def _until_zeros(values):
    """The values up to the last that is not zero."""
    nonzero = np.flatnonzero(values)
    return values[: nonzero[-1] + 1] if len(nonzero) else values[:0]


def _dct_matrix(horizon):
    """Orthonormal DCT-II, float64 [H, H], row = frequency; the same arithmetic as fastki's."""
    frequency = np.arange(horizon)[:, None]
    quarter_turns = (2 * np.arange(horizon)[None, :] + 1) * frequency % (4 * horizon)
    matrix = np.cos(np.pi / (2 * horizon) * quarter_turns) * np.sqrt(2 / horizon)
    matrix[0] = np.sqrt(1 / horizon)
    return matrix
