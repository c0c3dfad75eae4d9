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
    const void *volume;
    int wide; /* voxels of 64 bits */
    int axis, neighbours, lines;
    int64_t shape[3], spacing[3], step[3], first[3], count[3];
    int64_t extent[2][3]; /* voxels of the known and of the new lattice */
    Line line[NEIGHBOURS];
    int line_of[NEIGHBOURS], shift_of[NEIGHBOURS];
} Place;

/* Where the neighbours of a phase are; `geometry` is shape, spacing, axis, phase. */
static void place_of(Place *p, const void *volume, int wide, const int64_t *geometry) {
    int phase = (int)geometry[7], others[2], n = 0;
    p->volume = volume, p->wide = wide, p->axis = (int)geometry[6], p->lines = 0;
    others[0] = p->axis == 0, others[1] = p->axis == 2 ? 1 : 2;
    for (int k = 0; k < 3; k++) {
        int64_t size = p->shape[k] = geometry[k], spacing = p->spacing[k] = geometry[3 + k];
        p->extent[0][k] = p->extent[1][k] = (size + spacing - 1) / spacing;
        p->step[k] = 2, p->first[k] = 0;
        if (k == p->axis) {
            p->extent[1][k] = (size - spacing / 2 + spacing - 1) / spacing;
            p->step[k] = 1;
        }
    }
    for (int k = 0; k < 2; k++) p->first[others[k]] = odd_of[phase][k];
    for (int k = 0; k < 3; k++)
        p->count[k] = most_of(0, (p->extent[1][k] - p->first[k] + p->step[k] - 1) / p->step[k]);
    int begin = phase == 1 ? 4 : 0, end = phase == 0 ? 0 : phase == 2 ? 4 : 8;
    p->neighbours = KNOWN + end - begin;
    for (; n < p->neighbours; n++) {
        int offset[3], fresh = n >= KNOWN, l;
        offset[p->axis] = fresh ? 0 : known_offsets[n][0];
        for (int k = 0; k < 2; k++)
            offset[others[k]] = fresh ? sides_and_corners[begin + n - KNOWN][k] : known_offsets[n][1 + k];
        int along = offset[2] + (int)p->first[2];
        Line line = {fresh, offset[0], offset[1], p->axis == 2 ? 0 : along & 1};
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
static int64_t start_of(const Place *p, const Line *line, int64_t z, int64_t y) {
    int64_t at[3] = {0, 0, 0};
    const int64_t *extent = p->extent[line->fresh];
    at[0] = beyond(z + line->z, extent[0], line->fresh) * p->spacing[0];
    at[1] = beyond(y + line->y, extent[1], line->fresh) * p->spacing[1];
    if (line->fresh) at[p->axis] += p->spacing[p->axis] / 2;
    return (at[0] * p->shape[1] + at[1]) * p->shape[2] + at[2];
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
#include "predict_tile.h"
#undef SUM
#undef NAME
#define SUM int64_t
#define NAME(x) x##_64
#include "predict_tile.h"
#undef SUM
#undef NAME

/* Predict rows `first` to `last` of a phase.

   thresholds: CONTEXTS, the smallest error of each context, of which the first is not read; bounds: of each class
   but the first. Both are limited to the largest 32-bit number where `narrow` says that all sums stay below it. */
API void inrv_predict(
    const void *volume, int64_t wide, int64_t narrow, const int64_t *geometry, int64_t first, int64_t last,
    const int64_t *scales, const int64_t *weights, int64_t classes, const int64_t *thresholds,
    const int64_t *bounds, int64_t most, void *predicted, uint8_t *contexts
) {
    Place place;
    Model model = {scales, weights, thresholds, bounds, (int)classes, most, predicted, contexts};
    place_of(&place, volume, wide != 0, geometry);
    (narrow ? predict_32 : predict_64)(&place, &model, first, last);
}

/* Twice each neighbour less the middle, and the middle, of voxels given by their places in the phase. */
API void inrv_around(
    const void *volume, int64_t wide, const int64_t *geometry, const int64_t *places, int64_t count,
    double *middle, double *rows
) {
    Place place, *p = &place;
    place_of(p, volume, wide != 0, geometry);
    for (int64_t k = 0; k < count; k++) {
        int64_t values[NEIGHBOURS] = {0}, x = places[k] % p->count[2], row = places[k] / p->count[2];
        int64_t y = row % p->count[1] * p->step[1] + p->first[1];
        int64_t z = row / p->count[1] * p->step[0] + p->first[0];
        for (int n = 0; n < p->neighbours; n++) {
            const Line *line = &p->line[p->line_of[n]];
            int64_t index = p->axis == 2 ? x + p->shift_of[n] : 2 * (x + p->shift_of[n]) + line->odd;
            int64_t at = start_of(p, line, z, y);
            at += beyond(index, p->extent[line->fresh][2], line->fresh) * p->spacing[2];
            values[n] = p->wide ? ((const int64_t *)volume)[at] : ((const int32_t *)volume)[at];
        }
        int64_t sum = values[0] + values[1];
        middle[k] = (double)sum;
        for (int n = 0; n < p->neighbours; n++) rows[n * count + k] = (double)(2 * values[n] - sum);
    }
}
