/* Planes to depth, normals and what of them is valid in one pass: `planes.join`, whose docstring tells the rest.

   Rows are first gathered by nearest neighbour, as bytes, then joined by loops that compilers turn into vector code.
   Every operation is rounded by itself (-ffp-contract=off), so that any IEEE arithmetic gives the same bits.

   Legend: H rows, W columns of the target, h, w of the source. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define X86
#define FAST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FAST
#endif

enum { PLANES = 5, CENTRE = 2047, MAGNITUDE = 0x7FFF, INFINITE = 0x7C00, SHIFT = 32 };
#define ONE ((int64_t)1 << SHIFT)

typedef struct {
    int64_t x_by_x, x_by_y, x_start, y_by_x, y_by_y, y_start; /* fixed point, of pixels of the source */
} Where;

static int64_t clamp(int64_t value, int64_t most) { return value < 0 ? 0 : value > most ? most : value; }

static int64_t index_of(int64_t fixed) { return fixed >= 0 ? fixed / ONE : -((-fixed + ONE - 1) / ONE); }

/* Row y of the target, (5, W), from planes (5, h, w). */
FAST static void gather(const uint8_t *restrict planes, int64_t h, int64_t w, int64_t y, const Where *at,
                        uint8_t *restrict row, int64_t W)
{
    int64_t x_fixed = at->x_by_y * y + at->x_start, y_fixed = at->y_by_y * y + at->y_start;
    int64_t first = index_of(x_fixed), line = index_of(y_fixed);
    int level = at->y_by_x == 0 && line >= 0 && line < h;
    if (level && at->x_by_x == ONE && first >= 0 && first + W <= w) {
        for (int plane = 0; plane < PLANES; plane++)
            memcpy(row + plane * W, planes + (plane * h + line) * w + first, (size_t)W);
    } else if (level && at->x_by_x == -ONE && first - W >= -1 && first < w) {
        for (int plane = 0; plane < PLANES; plane++) {
            const uint8_t *restrict source = planes + (plane * h + line) * w + first - (W - 1);
            uint8_t *restrict target = row + plane * W;
            for (int64_t x = 0; x < W; x++)
                target[x] = source[W - 1 - x];
        }
    } else {
        for (int64_t x = 0; x < W; x++) {
            int64_t column = clamp(index_of(x_fixed + at->x_by_x * x), w - 1);
            int64_t below = clamp(index_of(y_fixed + at->y_by_x * x), h - 1);
            for (int plane = 0; plane < PLANES; plane++)
                row[plane * W + x] = planes[(plane * h + below) * w + column];
        }
    }
}

/* float32 in [-1, 1] to the bits of the nearest float16, halves to even. */
static inline uint16_t half(float value)
{
    uint32_t bits, small;
    memcpy(&bits, &value, 4);
    uint32_t magnitude = bits & 0x7FFFFFFF, sign = bits >> 16 & 0x8000;
    uint32_t normal = (magnitude + 0xFFF + (magnitude >> 13 & 1)) >> 13;
    float shifted = fabsf(value) + 0.5f; /* float16's subnormals end where this float's mantissa does */
    memcpy(&small, &shifted, 4);
    return (uint16_t)((magnitude < 0x38800000 ? small - 0x3F000000 : normal - (112 << 10)) | sign);
}

FAST static void join_depth(const uint8_t *restrict row, int64_t W, uint16_t *restrict depth, uint8_t *restrict valid)
{
    for (int64_t x = 0; x < W; x++) {
        uint16_t bits = (uint16_t)(row[x] << 8 | row[W + x]);
        uint16_t real = (bits & MAGNITUDE) <= INFINITE;
        valid[x] = (uint8_t)real;
        depth[x] = (uint16_t)(bits & -real);
    }
}

/* Which normals of one row mean something: where depth does, and not all 24 bits of the codes are set. */
FAST static void know_normals(const uint8_t *restrict row, const uint8_t *restrict valid, int64_t W,
                              uint8_t *restrict known)
{
    const uint8_t *restrict tops = row + 2 * W, *restrict us = row + 3 * W, *restrict vs = row + 4 * W;
    for (int64_t i = 0; i < W; i++)
        known[i] = (uint8_t)(valid[i] & ((tops[i] & us[i] & vs[i]) != 255));
}

/* Normals of one row, (3, W) float32; those that are not known are 0. */
FAST static void join_normals(const uint8_t *restrict row, const uint8_t *restrict known, int64_t W, float cosine,
                              float sine, float mirror, float *restrict out)
{
    const uint8_t *restrict tops = row + 2 * W, *restrict us = row + 3 * W, *restrict vs = row + 4 * W;
    for (int64_t i = 0; i < W; i++) {
        int32_t a = (tops[i] >> 4 << 8 | us[i]) - CENTRE, b = ((tops[i] & 15) << 8 | vs[i]) - CENTRE;
        int32_t size_a = abs(a), size_b = abs(b), up = CENTRE - size_a - size_b, fold = up < 0 ? up : 0;
        float x = (float)(size_a + fold), y = (float)(size_b + fold), z = (float)up;
        float scale = 1 / sqrtf(x * x + y * y + z * z);
        x *= a < 0 ? -scale : scale;
        y *= b < 0 ? -scale : scale;
        out[i] = known[i] ? (x * cosine - y * sine) * mirror : 0;
        out[W + i] = known[i] ? x * sine + y * cosine : 0;
        out[2 * W + i] = known[i] ? z * scale : 0;
    }
}

FAST static void halves_anywhere(const float *restrict values, int64_t count, uint16_t *restrict out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = half(values[i]);
}

#ifdef X86
__attribute__((target("avx,f16c"))) static void halves_f16c(const float *values, int64_t count, uint16_t *out)
{
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((__m128i *)(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT));
    halves_anywhere(values + i, count - i, out + i);
}
#endif

static void halves(const float *values, int64_t count, uint16_t *out)
{
#ifdef X86
    if (__builtin_cpu_supports("f16c")) {
        halves_f16c(values, count, out);
        return;
    }
#endif
    halves_anywhere(values, count, out);
}

static PyObject *join(PyObject *module, PyObject *arguments)
{
    Py_buffer planes, where, depth, valid, normals, known;
    Py_ssize_t h, w, H, W;
    float cosine, sine;
    int flip;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*nny*ffpw*w*w*w*nn", &planes, &h, &w, &where, &cosine, &sine, &flip, &depth,
                          &valid, &normals, &known, &H, &W))
        return NULL;
    uint8_t *row = NULL;
    float *vectors = NULL;
    if (h < 1 || w < 1 || H < 1 || W < 1 || planes.len != PLANES * h * w || where.len != sizeof(Where) ||
        depth.len != 2 * H * W || valid.len != H * W || normals.len != 6 * H * W || known.len != H * W) {
        PyErr_SetString(PyExc_ValueError, "the buffers do not have the sizes that (h, w) and (H, W) ask for");
    } else if ((row = malloc((size_t)(PLANES * W))) == NULL || (vectors = malloc(3 * sizeof(float) * (size_t)W)) == NULL) {
        PyErr_NoMemory();
    } else {
        Where at;
        memcpy(&at, where.buf, sizeof at);
        uint16_t *depths = depth.buf, *x = normals.buf, *y = x + H * W, *z = y + H * W;
        uint8_t *real = valid.buf, *sound = known.buf;
        Py_BEGIN_ALLOW_THREADS
        for (int64_t line = 0; line < H; line++) {
            int64_t start = line * W;
            gather(planes.buf, h, w, line, &at, row, W);
            join_depth(row, W, depths + start, real + start);
            know_normals(row, real + start, W, sound + start);
            join_normals(row, sound + start, W, cosine, sine, flip ? -1.0f : 1.0f, vectors);
            halves(vectors, W, x + start);
            halves(vectors + W, W, y + start);
            halves(vectors + 2 * W, W, z + start);
        }
        Py_END_ALLOW_THREADS
    }
    free(row);
    free(vectors);
    PyBuffer_Release(&planes);
    PyBuffer_Release(&where);
    PyBuffer_Release(&depth);
    PyBuffer_Release(&valid);
    PyBuffer_Release(&normals);
    PyBuffer_Release(&known);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"join", join, METH_VARARGS, "join(planes, h, w, where, cosine, sine, flip, depth, valid, normals, normals_valid, H, W)"},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_planes", NULL, 0, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__planes(void) { return PyModule_Create(&definition); }
