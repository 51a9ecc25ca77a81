/* Planes to values, and where they mean something, in one pass, inflated as it comes to them: `planes.join`, whose
   docstring tells the rest. Blocks are joined while they are in the processor's cache.

   Rows are first gathered by nearest neighbour, as bytes, then joined by loops that compilers turn into vector code, one
   step of a small program for each field. Every operation is rounded by itself (-ffp-contract=off), so that any IEEE
   arithmetic gives the same bits.

   Legend: P planes, H rows, W columns of the target, h, w of the source. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <time.h>

#include "../reading/_blocks.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define X86
#define FAST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FAST
#endif

enum { CENTRE = 2047, MAGNITUDE = 0x7FFF, INFINITE = 0x7C00, SKY = 0xFFFF, SHIFT = 32, MOST_STEPS = 64, VECTOR = 16 };
#define ONE ((int64_t)1 << SHIFT)
#define LARGEST 65504.0f /* float16 */

typedef struct {
    int64_t x_by_x, x_by_y, x_start, y_by_x, y_by_y, y_start; /* fixed point, of pixels of the source */
} Where;

typedef struct { float cosine, sine, mirror; } Turn;

enum Coding { WHOLE, F16, U16, OCTAHEDRAL, RELATIVE, CODINGS }; /* as in `layout.OPERATIONS` */
static const int PLANES[CODINGS] = {0, 2, 2, 3, 2}, BYTES[CODINGS] = {0, 2, 2, 6, 4}; /* BYTES: of a pixel's value */

typedef struct {
    int32_t coding, plane, bound; /* its first plane; the earlier step whose mask bounds this one's, or -1 */
    float centre, factor;         /* of U16: (steps - centre) * factor; of RELATIVE: stored * factor + centre */
} Step;

static inline int64_t index_of(int64_t fixed) { return fixed >> SHIFT; } /* rounded down, as all compilers shift */

/* A row whose pixels all lie within the source. */
static inline void pick(const uint8_t *restrict planes, int64_t count, int64_t size, int64_t w, int64_t x_fixed,
                        int64_t y_fixed, const Where *at, uint8_t *restrict row, int64_t W)
{
    for (int64_t x = 0; x < W; x++, x_fixed += at->x_by_x, y_fixed += at->y_by_x) {
        const uint8_t *restrict source = planes + index_of(y_fixed) * w + index_of(x_fixed);
        for (int64_t plane = 0; plane < count; plane++)
            row[plane * W + x] = source[plane * size];
    }
}

/* A row of which some pixels lie beyond the source: there all bits are set. */
static void pick_some(const uint8_t *restrict planes, int64_t count, int64_t h, int64_t w, int64_t x_fixed,
                      int64_t y_fixed, const Where *at, uint8_t *restrict row, uint8_t *restrict within, int64_t W)
{
    for (int64_t x = 0; x < W; x++, x_fixed += at->x_by_x, y_fixed += at->y_by_x) {
        int64_t column = index_of(x_fixed), line = index_of(y_fixed);
        within[x] = column >= 0 && column < w && line >= 0 && line < h;
        for (int64_t plane = 0; plane < count; plane++)
            row[plane * W + x] = within[x] ? planes[(plane * h + line) * w + column] : 255;
    }
}

/* Row y of the target, (P, W), from planes (P, h, w), and whether all of it lies within the source: else which pixels. */
FAST static int gather(const uint8_t *restrict planes, int64_t count, int64_t h, int64_t w, int64_t y, const Where *at,
                        uint8_t *restrict row, uint8_t *restrict within, int64_t W)
{
    int64_t x_fixed = at->x_by_y * y + at->x_start, y_fixed = at->y_by_y * y + at->y_start;
    int64_t first = index_of(x_fixed), last = index_of(x_fixed + at->x_by_x * (W - 1));
    int64_t line = index_of(y_fixed), end = index_of(y_fixed + at->y_by_x * (W - 1));
    if (first < 0 || first >= w || last < 0 || last >= w || line < 0 || line >= h || end < 0 || end >= h) {
        pick_some(planes, count, h, w, x_fixed, y_fixed, at, row, within, W);
        return 0;
    } /* what lies between two pixels of the source does too */
    if (at->y_by_x == 0 && at->x_by_x == ONE) {
        for (int64_t plane = 0; plane < count; plane++)
            memcpy(row + plane * W, planes + (plane * h + line) * w + first, (size_t)W);
    } else if (at->y_by_x == 0 && at->x_by_x == -ONE) {
        for (int64_t plane = 0; plane < count; plane++) {
            const uint8_t *restrict source = planes + (plane * h + line) * w + last;
            uint8_t *restrict target = row + plane * W;
            for (int64_t x = 0; x < W; x++)
                target[x] = source[W - 1 - x];
        }
    } else if (count == 5) { /* as most sets have, and faster where the compiler knows */
        pick(planes, 5, h * w, w, x_fixed, y_fixed, at, row, W);
    } else {
        pick(planes, count, h * w, w, x_fixed, y_fixed, at, row, W);
    }
    return 1;
}

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* A float32 of float16's range to the bits of the nearest float16, halves to even. */
static inline uint16_t half(float value)
{
    uint32_t bits = bits_of(value), magnitude = bits & 0x7FFFFFFF, sign = bits >> 16 & 0x8000;
    uint32_t normal = (magnitude + 0xFFF + (magnitude >> 13 & 1)) >> 13;
    float shifted = fabsf(value) + 0.5f; /* float16's subnormals end where this float's mantissa does */
    return (uint16_t)((magnitude < 0x38800000 ? bits_of(shifted) - 0x3F000000 : normal - (112 << 10)) | sign);
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

/* The steps of a program on a row (P, W), from a field's first plane on. `may` is where it may be valid; what is not
   comes as 0. */

FAST static void join_f16(const uint8_t *restrict row, int64_t W, const uint8_t *restrict may, uint8_t *restrict valid,
                          uint16_t *restrict out)
{
    for (int64_t x = 0; x < W; x++) {
        uint16_t bits = (uint16_t)(row[x] << 8 | row[W + x]);
        uint16_t real = (uint16_t)(may[x] & ((bits & MAGNITUDE) < INFINITE));
        valid[x] = (uint8_t)real;
        out[x] = (uint16_t)(bits & -real);
    }
}

/* As float32: a float16's exponent counts from 15, a float32's from 127; what has none are whole 2**-24. */
FAST static void join_relative(const uint8_t *restrict row, int64_t W, const Step *step, const uint8_t *restrict may,
                               uint8_t *restrict valid, float *restrict out)
{
    float centre = step->centre, factor = step->factor;
    for (int64_t x = 0; x < W; x++) {
        uint32_t bits = (uint32_t)(row[x] << 8 | row[W + x]), magnitude = bits & MAGNITUDE;
        uint32_t real = may[x] & (uint32_t)(magnitude < INFINITE), sign = (bits & 0x8000) << 16;
        float small = (float)(int32_t)magnitude * 0x1p-24f;
        uint32_t size = magnitude < 0x400 ? bits_of(small) : (magnitude << 13) + ((127 - 15) << 23);
        float product = float_of(size | sign) * factor, value = product + centre;
        valid[x] = (uint8_t)real;
        out[x] = float_of(bits_of(value) & -real);
    }
}

FAST static void join_u16(const uint8_t *restrict row, int64_t W, const Step *step, const uint8_t *restrict may,
                          uint8_t *restrict valid, float *restrict out)
{
    float centre = step->centre, factor = step->factor;
    for (int64_t x = 0; x < W; x++) {
        int32_t steps = row[x] << 8 | row[W + x];
        float relative = ((float)steps - centre) * factor;
        relative = relative > LARGEST ? LARGEST : relative < -LARGEST ? -LARGEST : relative;
        uint32_t real = may[x] & (uint32_t)(steps != 0) & (uint32_t)(steps != SKY);
        valid[x] = (uint8_t)real;
        out[x] = float_of(bits_of(relative) & -real);
    }
}

/* Which normals mean something: not all 24 bits of the codes are set. */
FAST static void know_normals(const uint8_t *restrict row, int64_t W, const uint8_t *restrict may,
                              uint8_t *restrict valid)
{
    for (int64_t i = 0; i < W; i++)
        valid[i] = (uint8_t)(may[i] & ((row[i] & row[W + i] & row[2 * W + i]) != 255));
}

/* (3, count) float32 of that many pixels of a row, without a branch, which would keep compilers from vector code: signs
   and zeros are set as bits. */
FAST static void join_normals(const uint8_t *restrict row, int64_t W, int64_t count, const Turn *turn,
                              const uint8_t *restrict valid, float *restrict out)
{
    const uint8_t *restrict tops = row, *restrict us = row + W, *restrict vs = row + 2 * W;
    float cosine = turn->cosine, sine = turn->sine, mirror = turn->mirror;
    for (int64_t i = 0; i < count; i++) {
        int32_t a = (tops[i] >> 4 << 8 | us[i]) - CENTRE, b = ((tops[i] & 15) << 8 | vs[i]) - CENTRE;
        int32_t size_a = abs(a), size_b = abs(b), up = CENTRE - size_a - size_b, fold = up < 0 ? up : 0;
        float x = (float)(size_a + fold), y = (float)(size_b + fold), z = (float)up;
        float scale = 1 / sqrtf(x * x + y * y + z * z);
        uint32_t there = -(uint32_t)valid[i], unsigned_scale = bits_of(scale), sign = 0x80000000;
        x *= float_of(unsigned_scale | ((uint32_t)a & sign));
        y *= float_of(unsigned_scale | ((uint32_t)b & sign));
        out[i] = float_of(bits_of((x * cosine - y * sine) * mirror) & there);
        out[count + i] = float_of(bits_of(x * sine + y * cosine) & there);
        out[2 * count + i] = float_of(bits_of(z * scale) & there);
    }
}

/* The pixels of a row from its first valid one to its last, in whole vectors: people stand before much of nothing. */
static void valid_span(const uint8_t *valid, int64_t W, int64_t *begin, int64_t *end)
{
    const uint8_t *first = memchr(valid, 1, (size_t)W);
    int64_t last = W;
    if (first == NULL) {
        *begin = *end = 0;
        return;
    }
    while (!valid[last - 1])
        last--;
    *begin = (first - valid) & -(int64_t)VECTOR;
    *end = (last + VECTOR - 1) & -(int64_t)VECTOR;
    *end = *end > W ? W : *end;
}

typedef struct {
    Py_ssize_t planes, h, w, H, W, steps, members;
    Decompress decompress;
    Member member[MOST_STEPS];
    Py_buffer packed[MOST_STEPS], inflated[MOST_STEPS];
    double inflating_s;
    Where at;
    Turn turn;
    Step program[MOST_STEPS];
    Py_buffer out[2 * MOST_STEPS]; /* of each step its mask, then its value */
} Job;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Whether rows first .. end - 1 of all planes could be inflated. Members that hold no planes of the pass are inflated
   as a whole, with the first. */
static int inflate(Job *job, const Py_buffer *planes, int64_t first, int64_t end, char *spare)
{
    double begun_s = now_s();
    int64_t plane = job->h * job->w;
    for (Py_ssize_t number = 0; number < job->members; number++) {
        Member *member = &job->member[number];
        const char *all = planes->buf;
        if (member->out < all || member->out >= all + planes->len) {
            if (!member_need(member, job->decompress, 0, member->bytes, spare))
                return 0;
            continue;
        }
        for (int64_t start = 0; start < member->bytes; start += plane)
            if (!member_need(member, job->decompress, start + first * job->w, start + end * job->w, spare))
                return 0;
    }
    job->inflating_s += now_s() - begun_s;
    return 1;
}

/* Whether all was whole. row: (P + 2, W) bytes, the last two of what lies within the source: some of a row, or all;
   floats: (3, W); spare: BLOCK bytes */
static int run(Job *job, const Py_buffer *source, uint8_t *row, float *floats, char *spare)
{
    const uint8_t *planes = source->buf;
    int64_t band = BLOCK / job->w > 1 ? BLOCK / job->w : 1, ready = 0; /* rows above `ready` are there */
    int by_rows = job->at.y_by_x == 0 && job->at.y_by_y >= 0;         /* else they are not met one after the other */
    if (job->members && !(by_rows ? inflate(job, source, 0, 0, spare) : inflate(job, source, 0, job->h, spare)))
        return 0;
    int64_t H = job->H, W = job->W;
    uint8_t *some = row + job->planes * W, *all = some + W;
    memset(all, 1, (size_t)W);
    for (int64_t line = 0; line < H; line++) {
        int64_t met = index_of(job->at.y_by_y * line + job->at.y_start);
        if (job->members && by_rows && met >= ready && met < job->h) {
            ready = met + band < job->h ? met + band : job->h;
            if (!inflate(job, source, met, ready, spare))
                return 0;
        }
        uint8_t *within = gather(planes, job->planes, job->h, job->w, line, &job->at, row, some, W) ? all : some;
        for (Py_ssize_t number = 0; number < job->steps; number++) {
            const Step *step = &job->program[number];
            const uint8_t *first = row + step->plane * W;
            uint8_t *valid = (uint8_t *)job->out[2 * number].buf + line * W;
            uint16_t *value = (uint16_t *)job->out[2 * number + 1].buf + line * W; /* of the codings of two bytes */
            const uint8_t *may = step->bound < 0 ? within : (uint8_t *)job->out[2 * step->bound].buf + line * W;
            if (step->coding == WHOLE) {
                memcpy(valid, may, (size_t)W);
            } else if (step->coding == F16) {
                join_f16(first, W, may, valid, value);
            } else if (step->coding == RELATIVE) {
                join_relative(first, W, step, may, valid, (float *)job->out[2 * number + 1].buf + line * W);
            } else if (step->coding == U16) {
                join_u16(first, W, step, may, valid, floats);
                halves(floats, W, value);
            } else {
                know_normals(first, W, may, valid);
                int64_t begin, end;
                valid_span(valid, W, &begin, &end);
                join_normals(first + begin, W, end - begin, &job->turn, valid + begin, floats);
                for (int64_t axis = 0; axis < 3; axis++) {
                    uint16_t *out = value + axis * H * W;
                    memset(out, 0, 2 * (size_t)begin);
                    halves(floats + axis * (end - begin), end - begin, out + begin);
                    memset(out + end, 0, 2 * (size_t)(W - end));
                }
            }
        }
    }
    return 1;
}

static int fits(const Job *job, Py_ssize_t bytes, Py_ssize_t outs)
{
    if (job->h < 1 || job->w < 1 || job->H < 1 || job->W < 1 || job->planes < 0 || outs != 2 * job->steps ||
        bytes != job->planes * job->h * job->w)
        return 0;
    for (Py_ssize_t number = 0; number < job->steps; number++) {
        const Step *step = &job->program[number];
        if (step->coding < 0 || step->coding >= CODINGS || step->plane < 0 || step->bound < -1 || step->bound >= number ||
            step->plane + PLANES[step->coding] > job->planes || job->out[2 * number].len != job->H * job->W ||
            job->out[2 * number + 1].len != BYTES[step->coding] * job->H * job->W)
            return 0;
    }
    return 1;
}

/* Take the members that are to be inflated. 0: an error is set. -1: one is not what its table says. */
static int take_members(Job *job, PyObject *packed, PyObject *outs)
{
    Py_ssize_t count = packed ? PyTuple_Size(packed) : 0;
    if (count > MOST_STEPS || (packed && PyTuple_Size(outs) != count)) {
        PyErr_SetString(PyExc_ValueError, "there must be one buffer to fill for each member, and not too many");
        return 0;
    }
    int whole = 1;
    for (; job->members < count; job->members++) {
        Py_buffer *from = &job->packed[job->members], *to = &job->inflated[job->members];
        if (PyObject_GetBuffer(PyTuple_GetItem(packed, job->members), from, PyBUF_SIMPLE) != 0)
            return 0;
        if (PyObject_GetBuffer(PyTuple_GetItem(outs, job->members), to, PyBUF_WRITABLE) != 0) {
            PyBuffer_Release(from);
            return 0;
        }
        int opened = member_open(&job->member[job->members], from->buf, from->len, to->buf, to->len);
        if (opened < 0)
            PyErr_NoMemory();
        else if (!opened)
            whole = -1;
    }
    return PyErr_Occurred() ? 0 : whole;
}

static PyObject *join(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer planes, where, program;
    Py_ssize_t outs, taken = 0;
    PyObject *filled, *packed = NULL, *inflated = NULL;
    unsigned long long address = 0;
    int flip, whole = 0;
    Job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return PyErr_NoMemory();
    if (!PyArg_ParseTuple(arguments, "y*nnny*ffpy*O!nn|KO!O!", &planes, &job->planes, &job->h, &job->w, &where,
                          &job->turn.cosine, &job->turn.sine, &flip, &program, &PyTuple_Type, &filled, &job->H, &job->W,
                          &address, &PyTuple_Type, &packed, &PyTuple_Type, &inflated)) {
        free(job);
        return NULL;
    }
    uint8_t *row = NULL;
    float *floats = NULL;
    char *spare = NULL;
    outs = PyTuple_Size(filled);
    job->steps = program.len / (Py_ssize_t)sizeof(Step);
    job->turn.mirror = flip ? -1.0f : 1.0f;
    job->decompress = (Decompress)(uintptr_t)address;
    if (job->steps > MOST_STEPS || outs > 2 * MOST_STEPS || program.len % (Py_ssize_t)sizeof(Step) != 0 ||
        where.len != sizeof(Where) || (packed && (!address || !inflated))) {
        PyErr_SetString(PyExc_ValueError, "no such program or place, or a program of too many steps");
        goto done;
    }
    memcpy(&job->at, where.buf, sizeof job->at);
    memcpy(job->program, program.buf, (size_t)program.len);
    for (; taken < outs; taken++)
        if (PyObject_GetBuffer(PyTuple_GetItem(filled, taken), &job->out[taken], PyBUF_WRITABLE) != 0)
            goto done;
    if (!fits(job, planes.len, outs)) {
        PyErr_SetString(PyExc_ValueError, "the buffers do not have the sizes that the program, (h, w) and (H, W) ask for");
        goto done;
    }
    if ((whole = take_members(job, packed, inflated)) == 0)
        goto done;
    if ((row = malloc((size_t)((job->planes + 2) * job->W))) == NULL || (spare = malloc(BLOCK)) == NULL ||
        (floats = malloc(3 * sizeof(float) * (size_t)job->W)) == NULL) {
        PyErr_NoMemory();
    } else if (whole == 1) {
        Py_BEGIN_ALLOW_THREADS
        whole = run(job, &planes, row, floats, spare);
        Py_END_ALLOW_THREADS
    }
done:;
    double inflating_s = job->inflating_s;
    free(row);
    free(floats);
    free(spare);
    while (taken > 0)
        PyBuffer_Release(&job->out[--taken]);
    while (job->members > 0) {
        member_close(&job->member[--job->members]);
        PyBuffer_Release(&job->packed[job->members]);
        PyBuffer_Release(&job->inflated[job->members]);
    }
    free(job);
    PyBuffer_Release(&planes);
    PyBuffer_Release(&where);
    PyBuffer_Release(&program);
    return PyErr_Occurred() ? NULL : whole == 1 ? PyFloat_FromDouble(inflating_s) : Py_NewRef(Py_None);
}

static PyMethodDef methods[] = {
    {"join", join, METH_VARARGS,
     "join(planes, P, h, w, where, cosine, sine, flip, program, (valid, value, ...), H, W[, LZ4_decompress_safe, (member, "
     "...), (out, ...)]): the seconds that inflating took, None where a member is damaged"},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_planes", NULL, 0, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__planes(void) { return PyModule_Create(&definition); }
