"""A language model of a few hundred kilobytes, made up on the spot: the llama architecture with random weights, as a GGUF file.

What it says makes no sense, but everything about it is real: a tokenizer, a chat template, attention, sampling, grammars. Its
vocabulary is one token for each printable ASCII character, so its server's counts can be told from the text. Only letters and
spaces have weights in its last layer, so what it says can be printed, and it never ends by itself.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import array
import random
import struct

CONTEXT = 512
EMBEDDING, FEED_FORWARD, HEADS = 64, 128, 2
ALIGNMENT = 32
UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
CHARACTERS = [" ", *map(chr, range(33, 127))]
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def rendered(*messages):
    """What the template makes of messages: a character is a token, and one more stands before them."""
    return "".join(f"{message['role']}: {message['content']}\n" for message in messages) + "assistant: "


def write(path):
    """The same file at each call."""
    tokens = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    tokens += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    # A space is U+2581 in vocabularies of this kind.
    tokens += [(character.replace(" ", "\u2581"), NORMAL) for character in CHARACTERS]
    metadata = {
        "general.architecture": (STRING, "llama"),
        "general.name": (STRING, "tiny"),
        "llama.context_length": (UINT32, CONTEXT),
        "llama.embedding_length": (UINT32, EMBEDDING),
        "llama.block_count": (UINT32, 1),
        "llama.feed_forward_length": (UINT32, FEED_FORWARD),
        "llama.attention.head_count": (UINT32, HEADS),
        "llama.attention.layer_norm_rms_epsilon": (FLOAT32, 1e-5),
        "llama.rope.dimension_count": (UINT32, EMBEDDING // HEADS),
        "tokenizer.ggml.model": (STRING, "llama"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, [text for text, _ in tokens])),
        "tokenizer.ggml.scores": (ARRAY, (FLOAT32, [0.0] * len(tokens))),
        "tokenizer.ggml.token_type": (ARRAY, (INT32, [kind for _, kind in tokens])),
        "tokenizer.ggml.unknown_token_id": (UINT32, 0),
        "tokenizer.ggml.bos_token_id": (UINT32, 1),
        "tokenizer.ggml.eos_token_id": (UINT32, 2),
        "tokenizer.ggml.add_bos_token": (BOOL, True),
        "tokenizer.ggml.add_space_prefix": (BOOL, False),
        "tokenizer.chat_template": (STRING, TEMPLATE),
    }
    header, infos, data = _document(metadata, _tensors(tokens))
    path.write_bytes(header + infos + b"\0" * (-(len(header) + len(infos)) % ALIGNMENT) + data)
    return path


def _tensors(tokens):
    """Name → (shape, the inner dimension first; values)."""
    random_of = random.Random(7).gauss
    wide = EMBEDDING**-0.5

    def matrix(inner, outer):
        return (inner, outer), [random_of(0, wide) for _ in range(inner * outer)]

    ones = ((EMBEDDING,), [1.0] * EMBEDDING)
    output = []
    for text, kind in tokens:
        is_said = kind == NORMAL and (text.isalpha() or text == "\u2581")
        output += [random_of(0, 1) if is_said else 0.0 for _ in range(EMBEDDING)]
    return {
        "token_embd.weight": ((EMBEDDING, len(tokens)), [random_of(0, 1) for _ in range(EMBEDDING * len(tokens))]),
        "output_norm.weight": ones,
        "output.weight": ((EMBEDDING, len(tokens)), output),
        "blk.0.attn_norm.weight": ones,
        "blk.0.attn_q.weight": matrix(EMBEDDING, EMBEDDING),
        "blk.0.attn_k.weight": matrix(EMBEDDING, EMBEDDING),
        "blk.0.attn_v.weight": matrix(EMBEDDING, EMBEDDING),
        "blk.0.attn_output.weight": matrix(EMBEDDING, EMBEDDING),
        "blk.0.ffn_norm.weight": ones,
        "blk.0.ffn_gate.weight": matrix(EMBEDDING, FEED_FORWARD),
        "blk.0.ffn_up.weight": matrix(EMBEDDING, FEED_FORWARD),
        "blk.0.ffn_down.weight": matrix(FEED_FORWARD, EMBEDDING),
    }


def _document(metadata, tensors):
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, (kind, value) in metadata.items():
        header += _string(key) + struct.pack("<I", kind) + _value(kind, value)
    infos, data = b"", b""
    for name, (shape, values) in tensors.items():
        infos += _string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        infos += struct.pack("<IQ", 0, len(data))  # 32-bit floats, at this offset
        data += array.array("f", values).tobytes()
        data += b"\0" * (-len(data) % ALIGNMENT)
    return header, infos, data


def _value(kind, value):
    if kind == STRING:
        return _string(value)
    if kind == ARRAY:
        inner, values = value
        return struct.pack("<IQ", inner, len(values)) + b"".join(_value(inner, one) for one in values)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


def _string(text):
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded
