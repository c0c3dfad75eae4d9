/* Predictions and contexts of the voxels of a phase: `Neighbourhood` and `Predictor.predict` in one pass.

   A row of the phase is predicted tile by tile. The lines of voxels around a tile are copied side by side first,
   so that each neighbour is a run of memory and the loops over a tile become vector instructions. */

#include "kernels.h"

enum { TILE = 128, KNOWN = 20, NEIGHBOURS = 28, CONTEXTS = 56, CLASSES = 8, BITS = 7 };

/* Offsets along the halved axis and along the two others, as in neighbours.py. */
static const int8_t known_offsets[KNOWN][3] = {
    {0, 0, 0},  {1, 0, 0},   {0, 1, 0},  {0, -1, 0},  {0, 0, 1},   {0, 0, -1},  {1, 1, 0},
    {1, -1, 0}, {1, 0, 1},   {1, 0, -1}, {0, 1, 1},   {0, -1, 1},  {0, 1, -1},  {0, -1, -1},
    {1, 1, 1},  {1, -1, 1},  {1, 1, -1}, {1, -1, -1}, {-1, 0, 0},  {2, 0, 0},
};
static const int8_t sides_and_corners[8][2] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}, {1, 1}, {-1, 1}, {1, -1}, {-1, -1}};
static const int8_t odd_of[4][2] = {{0, 0}, {1, 1}, {0, 1}, {1, 0}};

typedef struct {
    int fresh, z, y, odd; /* of the new voxels or the known ones; offsets; parity along x, if x is not halved */
} Line;

typedef struct {
    const void *voxels[2]; /* known and new ones */
    int64_t extent[2][3];
    int wide; /* voxels of 64 bits */
    int axis, neighbours, lines;
    int64_t step[3], first[3], count[3];
    Line line[NEIGHBOURS];
    int line_of[NEIGHBOURS], shift_of[NEIGHBOURS];
} Place;

/* Where the neighbours of a phase are; `geometry` is the shape of the known voxels, the number of new ones along the
   halved axis, that axis, and the phase. */
static void place_of(Place *p, const void *known, const void *fresh, int64_t wide, const int64_t *geometry) {
    int phase = (int)geometry[5], others[2];
    p->voxels[0] = known, p->voxels[1] = fresh, p->wide = wide != 0, p->axis = (int)geometry[4], p->lines = 0;
    others[0] = p->axis == 0, others[1] = p->axis == 2 ? 1 : 2;
    for (int k = 0; k < 3; k++) {
        p->extent[0][k] = geometry[k];
        p->extent[1][k] = k == p->axis ? geometry[3] : geometry[k];
        p->step[k] = k == p->axis ? 1 : 2, p->first[k] = 0;
    }
    for (int k = 0; k < 2; k++) p->first[others[k]] = odd_of[phase][k];
    for (int k = 0; k < 3; k++)
        p->count[k] = largest(0, (p->extent[1][k] - p->first[k] + p->step[k] - 1) / p->step[k]);
    int begin = phase == 1 ? 4 : 0, end = phase == 0 ? 0 : phase == 2 ? 4 : 8;
    p->neighbours = KNOWN + end - begin;
    for (int n = 0; n < p->neighbours; n++) {
        int offset[3], is_new = n >= KNOWN, l;
        offset[p->axis] = is_new ? 0 : known_offsets[n][0];
        for (int k = 0; k < 2; k++)
            offset[others[k]] = is_new ? sides_and_corners[begin + n - KNOWN][k] : known_offsets[n][1 + k];
        int along = offset[2] + (int)p->first[2];
        Line line = {is_new, offset[0], offset[1], p->axis == 2 ? 0 : along & 1};
        for (l = 0; l < p->lines; l++)
            if (!memcmp(&p->line[l], &line, sizeof line)) break;
        if (l == p->lines) p->line[p->lines++] = line;
        p->line_of[n] = l;
        p->shift_of[n] = p->axis == 2 ? along : (along - line.odd) / 2;
    }
}

/* The voxel that stands for one beyond an end: the last one, or of new ones the mirrored one, of the same phase. */
INLINE int64_t beyond(int64_t index, int64_t n, int fresh) {
    if (fresh) {
        index = index < 0 ? -index : index;
        index = index >= n ? 2 * (n - 1) - index : index;
    }
    return clipped(index, 0, n - 1);
}

/* First voxel of a line, of the row of voxels z, y of the new lattice. */
INLINE int64_t start_of(const Place *p, const Line *line, int64_t z, int64_t y) {
    const int64_t *extent = p->extent[line->fresh];
    z = beyond(z + line->z, extent[0], line->fresh), y = beyond(y + line->y, extent[1], line->fresh);
    return (z * extent[1] + y) * extent[2];
}

INLINE int64_t voxel_at(const Place *p, const Line *line, int64_t at) {
    const void *voxels = p->voxels[line->fresh];
    return p->wide ? ((const int64_t *)voxels)[at] : ((const int32_t *)voxels)[at];
}

typedef struct {
    const int64_t *scales, *weights, *thresholds, *bounds;
    int classes;
    int64_t most;
    void *predicted;
    uint8_t *contexts;
} Model;

#define SUM int32_t
#define NAME(x) x##_32
#define TARGET
#include "predict_tile.h"
#undef SUM
#undef NAME

#define SUM int64_t
#define NAME(x) x##_64
#include "predict_tile.h"
#undef SUM
#undef NAME
#undef TARGET

#if defined(__x86_64__) && defined(__GNUC__) && !defined(NO_VECTORS)
#include <immintrin.h>
#define SUM int32_t
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2")))
#define AVX2
#include "predict_tile.h"
#define HAS_AVX2 __builtin_cpu_supports("avx2")
#else
#define HAS_AVX2 0
#define predict_avx2 predict_32
#endif

/* Predict rows `first` to `last` of a phase.

   thresholds: CONTEXTS, the smallest error of each context, of which the first is not read; bounds: of each class
   but the first. Both are limited to the largest 32-bit number where `narrow` says that all sums stay below it. */
API void inrv_predict(
    const void *known, const void *fresh, int64_t wide, int64_t narrow, const int64_t *geometry, int64_t first,
    int64_t last, const int64_t *scales, const int64_t *weights, int64_t classes, const int64_t *thresholds,
    const int64_t *bounds, int64_t most, void *predicted, uint8_t *contexts
) {
    Place place;
    Model model = {scales, weights, thresholds, bounds, (int)classes, most, predicted, contexts};
    place_of(&place, known, fresh, wide, geometry);
    if (!narrow)
        predict_64(&place, &model, first, last);
    else if (HAS_AVX2)
        predict_avx2(&place, &model, first, last);
    else
        predict_32(&place, &model, first, last);
}

/* Neighbour n of the voxel at an index of a row, which is twice it where x is not halved. */
INLINE int64_t neighbour(const Place *p, int n, int64_t start, int64_t index) {
    const Line *line = &p->line[p->line_of[n]];
    int64_t extent = p->extent[line->fresh][2];
    index += p->shift_of[n] * p->step[2] + line->odd;
    if (index < 0 || index >= extent) index = beyond(index, extent, line->fresh);
    return voxel_at(p, line, start + index);
}

/* Twice each neighbour less the middle, and the middle, of voxels given by their places in the phase. */
API void inrv_around(
    const void *known, const void *fresh, int64_t wide, const int64_t *geometry, const int64_t *places, int64_t count,
    double *middle, float *rows
) {
    Place place, *p = &place;
    place_of(p, known, fresh, wide, geometry);
    for (int64_t begin = 0, end = 0; begin < count; begin = end) { /* voxels of one row */
        int64_t row = places[begin] / p->count[2], first = row * p->count[2], start[NEIGHBOURS] = {0};
        while (end < count && places[end] >= first && places[end] < first + p->count[2]) end++;
        for (int n = 0; n < p->neighbours; n++)
            start[n] = start_of(
                p, &p->line[p->line_of[n]], row / p->count[1] * p->step[0] + p->first[0],
                row % p->count[1] * p->step[1] + p->first[1]
            );
        for (int64_t k = begin; k < end; k++) {
            int64_t x = (places[k] - first) * p->step[2];
            int64_t before = neighbour(p, 0, start[0], x), behind = neighbour(p, 1, start[1], x);
            middle[k] = (double)(before + behind);
            rows[k] = (float)(before - behind);
            rows[count + k] = (float)(behind - before);
        }
        for (int n = 2; n < p->neighbours; n++)
            for (int64_t k = begin; k < end; k++) {
                int64_t x = (places[k] - first) * p->step[2];
                rows[n * count + k] = (float)(2 * neighbour(p, n, start[n], x) - (int64_t)middle[k]);
            }
    }
}
