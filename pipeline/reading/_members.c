/* A sample's members read, held against their hashes, and inflated: `members.load` and `members.inflate`, whose
   docstrings tell the rest. Each is one call without Python's lock, on functions of xxHash and LZ4 that come by their
   address. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "_blocks.h"

enum { HEADER = 512, GROUP = 297, DIGITS = 16 };

typedef uint64_t (*Hash)(const void *data, size_t size); /* XXH3_64bits */

typedef struct {
    int64_t start, size;
} Span;

/* How many of a file's bytes could be read, fewer than all only where it ends; -1 with `errno`. */
static Py_ssize_t fill(int handle, char *data, Py_ssize_t size, int64_t begin, Py_ssize_t most)
{
    Py_ssize_t filled = 0;
    while (filled < size) {
        Py_ssize_t asked = size - filled < most ? size - filled : most;
        ssize_t got = pread(handle, data + filled, (size_t)asked, (off_t)(begin + filled));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -1 : filled;
        filled += got;
    }
    return filled;
}

/* Whether all members are those that their headers were written for. */
static int as_written(Hash hash, const Py_buffer *data, const Py_buffer *spans, int64_t begin)
{
    Py_ssize_t count = spans->len / (Py_ssize_t)sizeof(Span);
    for (Py_ssize_t number = 0; number < count; number++) {
        char digits[DIGITS + 1];
        Span span;
        memcpy(&span, (char *)spans->buf + number * (Py_ssize_t)sizeof span, sizeof span);
        span.start -= begin;
        if (span.start < HEADER || span.size < 0 || span.start > data->len - span.size)
            return 0;
        const char *member = (char *)data->buf + span.start;
        snprintf(digits, sizeof digits, "%016llx", (unsigned long long)hash(member, (size_t)span.size));
        if (memcmp(digits, member - HEADER + GROUP, DIGITS) != 0)
            return 0;
    }
    return 1;
}

static PyObject *load(PyObject *module, PyObject *arguments)
{
    Py_buffer data, spans;
    unsigned long long address;
    int64_t begin;
    Py_ssize_t most, got;
    int handle, whole = 0, failed = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "Kinw*y*L", &address, &handle, &most, &data, &spans, &begin))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    got = handle < 0 ? data.len : fill(handle, data.buf, data.len, begin, most < 1 ? 1 : most);
    failed = got < 0 ? errno : 0;
    whole = got == data.len && address != 0 && as_written((Hash)(uintptr_t)address, &data, &spans, begin);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    PyBuffer_Release(&spans);
    if (failed) {
        errno = failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("(nO)", got, whole ? Py_True : Py_False);
}

/* Whether a member is whole; `out` then holds its bytes. */
static int inflate_one(Decompress decompress, const Py_buffer *packed, const Py_buffer *out, char *spare)
{
    Member member;
    int whole = member_open(&member, packed->buf, packed->len, out->buf, out->len) == 1 &&
                member_need(&member, decompress, 0, out->len, spare);
    member_close(&member);
    return whole;
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
    while (whole < count && inflate_one(decompress, &pairs[whole].member, &pairs[whole].out, spare))
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
    {"load", load, METH_VARARGS,
     "load(XXH3_64bits, handle, most, data, spans, begin): bytes read, and whether all members are as written"},
    {"inflate", inflate, METH_VARARGS,
     "inflate(LZ4_decompress_safe, (member, ...), (out, ...)): whether all members are whole"},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_members", NULL, 0, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__members(void) { return PyModule_Create(&definition); }
