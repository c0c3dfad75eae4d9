/* Slices of a boolean grid, cell by cell: the loop of mask.py. */

#include "kernels.h"

enum {
    CURRENT = 10, PREVIOUS = 16, CONTEXTS = 5, COUNT_BITS = 7, CERTAIN = (1 << 22) - 1, EDGE = 2559, LEARNING = 100,
};

static const int8_t current_offsets[CURRENT][2] = {
    {0, -1}, {0, -2}, {-2, 1}, {-2, 0}, {-2, -1}, {-1, 2}, {-1, 1}, {-1, 0}, {-1, -1}, {-1, -2},
};
static const int8_t previous_offsets[PREVIOUS][3] = {
    {-1, 0, 0}, {-1, 0, 1},   {-1, 1, 0},  {-1, 0, -1},  {-1, -1, 0}, {-1, 1, 1}, {-1, 1, -1}, {-1, -1, 1},
    {-1, -1, -1}, {-1, 0, 2}, {-1, 2, 0},  {-2, 0, 0},   {-2, 0, 1},  {-2, 1, 0}, {-2, 0, -1}, {-2, -1, 0},
};

typedef struct {
    int64_t low, high, value, shifts; /* of the arithmetic coder; value and shifts of a reader */
    int64_t agreed[2], weights[9][CONTEXTS];
} State;

typedef struct {
    int reads;
    const uint8_t *data; /* of a reader */
    int64_t size;
    uint8_t *out;
    int64_t written;
} Stream;

/* Code a bit that is 1 with probability / 2^16: `bit`, or the one that is read; -1 beyond the end of the data. */
INLINE int coded(State *s, Stream *stream, int64_t probability, int bit) {
    int64_t middle = s->low + ((s->high - s->low) * probability >> 16);
    if (stream->reads) bit = s->value <= middle;
    if (bit)
        s->high = middle;
    else
        s->low = middle + 1;
    while ((s->low ^ s->high) < 1 << 24) {
        if (!stream->reads)
            stream->out[stream->written++] = (uint8_t)(s->low >> 24);
        else {
            int64_t following = s->shifts + 4;
            if (++s->shifts > stream->size) return -1;
            s->value = (s->value << 8 & 0xFFFFFFFF) | (following < stream->size ? stream->data[following] : 0);
        }
        s->low = s->low << 8 & 0xFFFFFFFF, s->high = (s->high << 8 & 0xFFFFFFFF) | 255;
    }
    return bit;
}

INLINE int64_t learned(int64_t state, int bit, const int32_t *rates) {
    int64_t seen = state & 127, probability = state >> COUNT_BITS;
    if (bit)
        probability += (CERTAIN - probability) * rates[seen] >> 16;
    else
        probability -= probability * rates[seen] >> 16;
    return probability << COUNT_BITS | (seen < 127 ? seen + 1 : seen);
}

/* Code a slice of `known`, which has two cells of zeros around each slice and two slices of them in front.

   tables: rates (128), stretch (2^14), squash (2 EDGE + 1), and of each context the bits of its index that come from
   each code of the current slice (2^10) and of the previous ones (2^16); states: those of all contexts, `sizes` each;
   out: four bytes for each cell.

   Returns the bytes that were written, or -1 where the data ended before. */
API int64_t inrv_mask(
    uint8_t *known, int64_t z, int64_t height, int64_t width, int64_t reads, const uint8_t *data, int64_t size, uint8_t *out,
    State *state, const int32_t *tables, int32_t *states, const int64_t *sizes
) {
    const int32_t *rates = tables, *stretch = rates + 128, *squash = stretch + (1 << 14) + EDGE;
    const int32_t *current_share = squash + EDGE + 1, *previous_share = current_share + CONTEXTS * (1 << CURRENT);
    int64_t stride = width + 4, slice = stride * (height + 4), offsets[PREVIOUS], above[CURRENT];
    Stream stream = {reads != 0, data, size, out, 0};
    int32_t *of[CONTEXTS];
    for (int k = 0; k < CONTEXTS; k++) of[k] = states, states += sizes[k];
    for (int k = 0; k < PREVIOUS; k++)
        offsets[k] = previous_offsets[k][0] * slice + previous_offsets[k][1] * stride + previous_offsets[k][2];
    for (int k = 0; k < CURRENT; k++) above[k] = current_offsets[k][0] * stride + current_offsets[k][1];
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            uint8_t *cell = known + (z + 2) * slice + (y + 2) * stride + x + 2;
            int previous = 0, current = 0, bit;
            for (int k = 0; k < PREVIOUS; k++) previous |= cell[offsets[k]] << k;
            for (int k = 0; k < CURRENT; k++) current |= cell[above[k]] << k;
            if ((!previous && !current) || (previous == (1 << PREVIOUS) - 1 && current == (1 << CURRENT) - 1)) {
                int64_t *agreed = &state->agreed[previous & 1];
                bit = coded(state, &stream, clipped(*agreed >> 13, 1, 65535), *cell);
                if (bit < 0) return -1;
                *agreed = learned(*agreed, bit, rates);
            } else {
                int64_t logits[CONTEXTS], total = 0, ones = 0;
                int32_t index[CONTEXTS];
                for (int k = 0; k < CONTEXTS; k++)
                    index[k] = current_share[k << CURRENT | current] | previous_share[k << PREVIOUS | previous];
                for (int32_t left = index[0]; left; left &= left - 1) ones++;
                int64_t *weights = state->weights[ones];
                for (int k = 0; k < CONTEXTS; k++) {
                    logits[k] = stretch[of[k][index[k]] >> 15];
                    total += weights[k] * logits[k];
                }
                int64_t probability = squash[clipped(total >> 16, -EDGE, EDGE)];
                bit = coded(state, &stream, probability, *cell);
                if (bit < 0) return -1;
                int64_t error = (((int64_t)bit << 16) - probability) * LEARNING >> 4;
                for (int k = 0; k < CONTEXTS; k++) {
                    weights[k] += (logits[k] * error + 0x8000) >> 16;
                    of[k][index[k]] = (int32_t)learned(of[k][index[k]], bit, rates);
                }
            }
            *cell = (uint8_t)bit;
        }
    return stream.written;
}
