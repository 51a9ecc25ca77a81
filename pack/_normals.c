/* Normals to planes of octahedral codes in one pass: `codecs.split_normals`, whose docstring tells the rest.

   Every operation is rounded by itself (-ffp-contract=off), so that any IEEE arithmetic gives the same bytes. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FAST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FAST
#endif

enum { AXES = 3, CENTRE = 2047 };

/* A coordinate in -1 .. 1, scaled by 2047, to its code; what is not finite to one of the ends. */
static inline int32_t code(float value)
{
    float bounded = value > -CENTRE ? value : -CENTRE; /* NaN becomes -2047 */
    return (int32_t)rintf(bounded < CENTRE ? bounded : CENTRE) + CENTRE;
}

FAST static void split_all(const float *restrict x, const float *restrict y, const float *restrict z,
                           const uint8_t *restrict valid, int64_t count, uint8_t *restrict planes)
{
    uint8_t *restrict tops = planes, *restrict us = planes + count, *restrict vs = planes + 2 * count;
    for (int64_t i = 0; i < count; i++) {
        float scale = CENTRE / (fabsf(x[i]) + fabsf(y[i]) + fabsf(z[i]));
        float a = x[i] * scale, b = y[i] * scale;
        float folded_a = copysignf(CENTRE - fabsf(b), a), folded_b = copysignf(CENTRE - fabsf(a), b);
        int32_t u = code(z[i] < 0 ? folded_a : a), v = code(z[i] < 0 ? folded_b : b);
        u = valid[i] ? u : CENTRE;
        v = valid[i] ? v : CENTRE;
        tops[i] = (uint8_t)(u >> 8 << 4 | v >> 8);
        us[i] = (uint8_t)u;
        vs[i] = (uint8_t)v;
    }
}

static PyObject *split(PyObject *module, PyObject *arguments)
{
    Py_buffer x, y, z, valid, planes;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*y*y*w*", &x, &y, &z, &valid, &planes))
        return NULL;
    Py_ssize_t count = valid.len, floats = count * (Py_ssize_t)sizeof(float);
    int fits = x.len == floats && y.len == floats && z.len == floats && planes.len == AXES * count;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        split_all(x.buf, y.buf, z.buf, valid.buf, count, planes.buf);
        Py_END_ALLOW_THREADS
    } else {
        PyErr_SetString(PyExc_ValueError, "the buffers do not hold the same number of pixels");
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&y);
    PyBuffer_Release(&z);
    PyBuffer_Release(&valid);
    PyBuffer_Release(&planes);
    if (!fits)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"split", split, METH_VARARGS, "split(x, y, z, valid, planes)"},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_normals", NULL, 0, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__normals(void) { return PyModule_Create(&definition); }
