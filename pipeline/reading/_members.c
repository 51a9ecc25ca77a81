/* A sample's members held against their hashes, and inflated: `members.check` and `members.inflate`, whose docstrings
   tell the rest. Each is one call without Python's lock, on functions of xxHash and LZ4 that come by their address. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMBERS = 3, PLANES = 6, BLOCK = 65536, HEADER = 512, GROUP = 297, DIGITS = 16 };

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

static PyObject *inflate(PyObject *module, PyObject *arguments)
{
    Py_buffer members[MEMBERS], alpha, planes;
    unsigned long long address;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "Ky*y*y*w*w*", &address, &members[0], &members[1], &members[2], &alpha, &planes))
        return NULL;
    char *spare = malloc(BLOCK), *to = planes.buf;
    int64_t plane = alpha.len;
    int whole = 0;
    if (planes.len != (PLANES - 1) * plane) {
        PyErr_SetString(PyExc_ValueError, "alpha and planes are of unlike sizes");
    } else if (spare == NULL) {
        PyErr_NoMemory();
    } else {
        Decompress decompress = (Decompress)(uintptr_t)address;
        Py_BEGIN_ALLOW_THREADS
        whole = inflate_one(decompress, &members[0], alpha.buf, plane, spare) &&
                inflate_one(decompress, &members[1], to, 2 * plane, spare) &&
                inflate_one(decompress, &members[2], to + 2 * plane, 3 * plane, spare);
        Py_END_ALLOW_THREADS
    }
    free(spare);
    for (int number = 0; number < MEMBERS; number++)
        PyBuffer_Release(&members[number]);
    PyBuffer_Release(&alpha);
    PyBuffer_Release(&planes);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(whole);
}

static PyMethodDef methods[] = {
    {"check", check, METH_VARARGS, "check(XXH3_64bits, data, spans, begin): whether all members are as written"},
    {"inflate", inflate, METH_VARARGS,
     "inflate(LZ4_decompress_safe, alpha, depth, normals, alpha_out, planes_out): whether all members are whole"},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_members", NULL, 0, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__members(void) { return PyModule_Create(&definition); }
