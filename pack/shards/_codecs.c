/* Depth to float16, normals to planes of octahedral codes, and pixels judged, in a pass each:
   `codecs.normalise_depth`, `codecs.split_normals` and `pixels.clean`, whose docstrings tell the rest.

   Every operation is rounded by itself (-ffp-contract=off), so that any IEEE arithmetic gives the same bytes. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FAST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FAST
#endif

enum { AXES = 3, INFINITE = 0x7F800000, LEAST = -INFINITE - 1, CENTRE = 2047, NONE = 4095 }; /* codes of 0, and of no normal; real ones run from 0 to 4094 */

static const uint16_t NOT_A_NUMBER = 0x7E00, ENDLESS = 0x7C00;
static const double SHIFT = 268435456; /* 2**28, whose last bit is float16's smallest subnormal, 2**-24 */

/* A double in -1 .. 1 to the bits of the nearest float16, halves to even. */
static inline uint16_t half(double value)
{
    double size = fabs(value), shifted = size + SHIFT, shift = SHIFT;
    uint64_t bits, magnitude, small, nothing;
    memcpy(&bits, &value, 8);
    memcpy(&magnitude, &size, 8);
    memcpy(&small, &shifted, 8);
    memcpy(&nothing, &shift, 8);
    uint64_t normal = (magnitude + 0x1FFFFFFFFFF + (magnitude >> 42 & 1)) >> 42;
    uint64_t rounded = size < 0x1p-14 ? small - nothing : normal - ((uint64_t)(1023 - 15) << 10);
    return (uint16_t)(rounded | (bits >> 48 & 0x8000));
}

/* A float's bits as an integer of the same order, and back. */
static inline int32_t ordered(int32_t bits) { return bits ^ (bits >> 31 & 0x7FFFFFFF); }

/* The nearest and the farthest valid depth, which are finite; both infinite where there is none. Compared as integers,
   which compilers turn into vector code. */
FAST static void range_of(const float *restrict depth, const uint8_t *restrict valid, int64_t count, float *nearest,
                          float *farthest)
{
    int32_t least = INFINITE, most = LEAST;
    for (int64_t i = 0; i < count; i++) {
        int32_t bits, chosen = -(int32_t)(valid[i] != 0);
        memcpy(&bits, depth + i, 4);
        int32_t low = (ordered(bits) & chosen) | (INFINITE & ~chosen), high = (ordered(bits) & chosen) | (LEAST & ~chosen);
        least = low < least ? low : least;
        most = high > most ? high : most;
    }
    least = ordered(least);
    most = ordered(most);
    memcpy(nearest, &least, 4);
    memcpy(farthest, &most, 4);
}

FAST static void normalise_all(const float *restrict depth, const uint8_t *restrict valid, int64_t count,
                               double offset, double scale, uint16_t *restrict relative)
{
    for (int64_t i = 0; i < count; i++) {
        uint16_t bits = half(((double)depth[i] - offset) / scale);
        uint16_t none = depth[i] == INFINITY ? ENDLESS : NOT_A_NUMBER;
        relative[i] = valid[i] ? bits : none;
    }
}

static PyObject *normalise(PyObject *module, PyObject *arguments)
{
    Py_buffer depth, valid, relative;
    double offset = 0, scale = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*w*", &depth, &valid, &relative))
        return NULL;
    int64_t count = valid.len;
    if (depth.len == 4 * count && relative.len == 2 * count) {
        Py_BEGIN_ALLOW_THREADS
        float nearest, farthest;
        range_of(depth.buf, valid.buf, count, &nearest, &farthest);
        offset = ((double)nearest + (double)farthest) / 2;
        scale = ((double)farthest - (double)nearest) / 2;
        if (scale == 0)
            scale = 1;
        normalise_all(depth.buf, valid.buf, count, offset, scale, relative.buf);
        Py_END_ALLOW_THREADS
    } else {
        PyErr_SetString(PyExc_ValueError, "the buffers do not hold the same number of pixels");
    }
    PyBuffer_Release(&depth);
    PyBuffer_Release(&valid);
    PyBuffer_Release(&relative);
    return PyErr_Occurred() ? NULL : Py_BuildValue("dd", offset, scale);
}

/* Whether a vector is a normal: of length 1 to 0.01; one that is not finite is none. */
static inline int is_normal(float x, float y, float z)
{
    float square = x * x + y * y + z * z;
    return (square >= 0.9801f) & (square <= 1.0201f);
}

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
        int known = (valid[i] != 0) & is_normal(x[i], y[i], z[i]);
        u = known ? u : NONE;
        v = known ? v : NONE;
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

/* Depth that is not finite or not positive becomes invalid, and what is no normal; see `pixels.py`. */
FAST static void judge_all(const float *restrict depth, const float *restrict x, const float *restrict y,
                           const float *restrict z, int64_t count, uint8_t *restrict valid, uint8_t *restrict known)
{
    for (int64_t i = 0; i < count; i++) {
        uint8_t real = (uint8_t)(valid[i] & (depth[i] > 0) & (depth[i] < INFINITY));
        valid[i] = real;
        known[i] = (uint8_t)(known[i] & real & is_normal(x[i], y[i], z[i]));
    }
}

static PyObject *judge(PyObject *module, PyObject *arguments)
{
    Py_buffer depth, x, y, z, valid, known;
    float nearest = 0, farthest = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*y*y*w*w*", &depth, &x, &y, &z, &valid, &known))
        return NULL;
    Py_ssize_t count = valid.len, floats = count * (Py_ssize_t)sizeof(float);
    int fits = depth.len == floats && x.len == floats && y.len == floats && z.len == floats && known.len == count;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        judge_all(depth.buf, x.buf, y.buf, z.buf, count, valid.buf, known.buf);
        range_of(depth.buf, valid.buf, count, &nearest, &farthest);
        Py_END_ALLOW_THREADS
    } else {
        PyErr_SetString(PyExc_ValueError, "the buffers do not hold the same number of pixels");
    }
    PyBuffer_Release(&depth);
    PyBuffer_Release(&x);
    PyBuffer_Release(&y);
    PyBuffer_Release(&z);
    PyBuffer_Release(&valid);
    PyBuffer_Release(&known);
    return fits ? Py_BuildValue("ff", nearest, farthest) : NULL;
}

static PyMethodDef methods[] = {
    {"normalise", normalise, METH_VARARGS, "normalise(depth, valid, relative): offset, scale"},
    {"split", split, METH_VARARGS, "split(x, y, z, valid, planes)"},
    {"judge", judge, METH_VARARGS, "judge(depth, x, y, z, valid, normals_valid): nearest, farthest"},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_codecs", NULL, 0, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__codecs(void) { return PyModule_Create(&definition); }
