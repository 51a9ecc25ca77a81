/* A sample's members held against their hashes, and inflated: `members.check` and `members.inflate`, whose docstrings
   tell the rest. Each is one call without Python's lock, on functions of xxHash and LZ4 that come by their address. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 65536, HEADER = 512, GROUP = 297, DIGITS = 16 };

typedef uint64_t (*Hash)(const void *data, size_t size);                                /* XXH3_64bits */
typedef int (*Decompress)(const char *packed, char *out, int packed_size, int room); /* LZ4_decompress_safe */

typedef struct {
    int64_t start, size;
} Span;

static PyObject *check(PyObject *module, PyObject *arguments)
{
    Py_buffer data, spans;
    unsigned long long address;
    int64_t begin;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "Ky*y*L", &address, &data, &spans, &begin))
        return NULL;
    Py_ssize_t count = spans.len / (Py_ssize_t)sizeof(Span), whole = 0;
    Py_BEGIN_ALLOW_THREADS
    for (; whole < count; whole++) {
        char digits[DIGITS + 1];
        Span span;
        memcpy(&span, (char *)spans.buf + whole * (Py_ssize_t)sizeof span, sizeof span);
        span.start -= begin;
        if (span.start < HEADER || span.size < 0 || span.start > data.len - span.size)
            break;
        const char *member = (char *)data.buf + span.start;
        uint64_t found = ((Hash)(uintptr_t)address)(member, (size_t)span.size);
        snprintf(digits, sizeof digits, "%016llx", (unsigned long long)found);
        if (memcmp(digits, member - HEADER + GROUP, DIGITS) != 0)
            break;
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    PyBuffer_Release(&spans);
    return PyBool_FromLong(whole == count);
}

/* Whether a member (a table of sizes, then its blocks, see `pack/shards/schema.py`) is whole; `out` then holds its bytes. */
static int inflate_one(Decompress decompress, const Py_buffer *member, char *out, int64_t bytes, char *spare)
{
    int64_t blocks = (bytes + BLOCK - 1) / BLOCK, end = 4 * blocks;
    const char *data = member->buf;
    if (member->len < end)
        return 0;
    for (int64_t block = 0; block < blocks; block++) {
        int64_t start = block * BLOCK, wanted = bytes - start;
        uint32_t size;
        memcpy(&size, data + 4 * block, 4);
        if (size > member->len - end)
            return 0;
        if (decompress(data + end, wanted < BLOCK ? spare : out + start, (int)size, BLOCK) != BLOCK)
            return 0;
        if (wanted < BLOCK) /* the last block is filled up */
            memcpy(out + start, spare, (size_t)wanted);
        end += size;
    }
    return end == member->len;
}

typedef struct {
    Py_buffer member, out;
} Pair;

static PyObject *inflate(PyObject *module, PyObject *arguments)
{
    PyObject *members, *outs;
    unsigned long long address;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "KO!O!", &address, &PyTuple_Type, &members, &PyTuple_Type, &outs))
        return NULL;
    Py_ssize_t count = PyTuple_Size(members), taken = 0, whole = 0;
    Pair *pairs = calloc((size_t)count + 1, sizeof *pairs);
    char *spare = malloc(BLOCK);
    if (pairs == NULL || spare == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    if (PyTuple_Size(outs) != count) {
        PyErr_SetString(PyExc_ValueError, "there must be one buffer to fill for each member");
        goto done;
    }
    for (; taken < count; taken++) {
        if (PyObject_GetBuffer(PyTuple_GetItem(members, taken), &pairs[taken].member, PyBUF_SIMPLE) != 0)
            goto done;
        if (PyObject_GetBuffer(PyTuple_GetItem(outs, taken), &pairs[taken].out, PyBUF_WRITABLE) != 0) {
            PyBuffer_Release(&pairs[taken].member);
            goto done;
        }
    }
    Py_BEGIN_ALLOW_THREADS
    Decompress decompress = (Decompress)(uintptr_t)address;
    while (whole < count &&
           inflate_one(decompress, &pairs[whole].member, pairs[whole].out.buf, pairs[whole].out.len, spare))
        whole++;
    Py_END_ALLOW_THREADS
done:
    while (taken > 0) {
        PyBuffer_Release(&pairs[--taken].member);
        PyBuffer_Release(&pairs[taken].out);
    }
    free(pairs);
    free(spare);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(whole == count);
}

static PyMethodDef methods[] = {
    {"check", check, METH_VARARGS, "check(XXH3_64bits, data, spans, begin): whether all members are as written"},
    {"inflate", inflate, METH_VARARGS,
     "inflate(LZ4_decompress_safe, (member, ...), (out, ...)): whether all members are whole"},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_members", NULL, 0, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__members(void) { return PyModule_Create(&definition); }
