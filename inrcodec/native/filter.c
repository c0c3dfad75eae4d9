/* The filter of a refinement: the loop of filter.py. */

#include "kernels.h"

enum { WEIGHTS = 14, DEPTH = 2, ROWS = 3, COLUMNS = 3, SHIFT = 8 };

static const int8_t OFFSETS[WEIGHTS][3] = {
    {1, 0, 0}, {2, 0, 0}, {0, 1, 0},  {0, 2, 0}, {0, 3, 0},  {0, 0, 1}, {0, 0, 2},
    {0, 0, 3}, {0, 1, 1}, {0, 1, -1}, {1, 0, 1}, {1, 0, -1}, {1, 1, 0}, {1, -1, 0},
};

INLINE int32_t within(int32_t a, int32_t limit) { return a < -limit ? -limit : a > limit ? limit : a; }

/* Filter `depth` slices.

   near: they and their border, (depth + 4, height + 6, width + 6); weights: 14 for each of `limits`, then 14 for no
   limit, so small that no sum leaves 32 bits; out: (depth, height, width). */
API void inrv_filter(
    const int32_t *near, int64_t depth, int64_t height, int64_t width, const int32_t *weights, const int32_t *limits,
    int64_t most, int32_t *out
) {
    const int64_t row = width + 2 * COLUMNS, plane = row * (height + 2 * ROWS);
    const int32_t small = limits[0], large = limits[1], top = (int32_t)most;
    for (int64_t z = 0; z < depth; z++)
        for (int64_t y = 0; y < height; y++, out += width) {
            const int32_t *middle = near + (z + DEPTH) * plane + (y + ROWS) * row + COLUMNS;
            for (int64_t x = 0; x < width; x++) out[x] = 1 << (SHIFT - 1);
            for (int k = 0; k < WEIGHTS; k++) {
                const int64_t away = OFFSETS[k][0] * plane + OFFSETS[k][1] * row + OFFSETS[k][2];
                const int32_t *after = middle + away, *before = middle - away;
                const int32_t a = weights[k], b = weights[k + WEIGHTS], c = weights[k + 2 * WEIGHTS];
                for (int64_t x = 0; x < width; x++) {
                    const int32_t one = after[x] - middle[x], other = before[x] - middle[x];
                    out[x] += a * (within(one, small) + within(other, small)) +
                              b * (within(one, large) + within(other, large)) + c * (one + other);
                }
            }
            for (int64_t x = 0; x < width; x++) {
                const int32_t value = middle[x] + (out[x] >> SHIFT);
                out[x] = value < 0 ? 0 : value > top ? top : value;
            }
        }
}
