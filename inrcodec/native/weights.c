/* Quantised weights of a tensor: the reading loop of laplace.py. */

#include "kernels.h"

enum { SCALE_BITS = 16, FIRST_STATE = 1 << 16, STATE_LOW = 1 << 22 };
#define LARGEST (((int64_t)1 << 31) - 1)

typedef struct {
    const uint8_t *data;
    int64_t size, position, state;
    int ended; /* before its last weight */
} Reader;

INLINE void refill(Reader *r) {
    while (r->state < STATE_LOW) {
        if (r->position == r->size) {
            r->ended |= r->state < FIRST_STATE;
            return;
        }
        r->state = r->state << 8 | r->data[r->position++];
    }
}

INLINE int64_t take_bits(Reader *r, int64_t count) {
    int64_t value = r->state & (((int64_t)1 << count) - 1);
    r->state >>= count;
    refill(r);
    return value;
}

static int64_t escaped(Reader *r, int64_t edge) {
    int64_t head = take_bits(r, 6), length = head >> 1, below;
    if (length <= 16)
        below = take_bits(r, length);
    else {
        below = take_bits(r, length - 16) << 16;
        below |= take_bits(r, 16);
    }
    int64_t size = ((int64_t)1 << length | below) + edge - 1;
    return head & 1 ? -size : size;
}

/* Read `count` values; 0, or -1 where the stream is damaged.

   place: position and state of the reader, which are moved; lookup: 2^16 symbols; freq, start and symbol values:
   `symbols` each, of which the last is the escape. */
API int64_t inrv_weights(
    const uint8_t *data, int64_t size, int64_t *place, int64_t count, const uint8_t *lookup, const int64_t *freq,
    const int64_t *start, const int64_t *symbol_values, int64_t symbols, int64_t edge, int64_t shift, int32_t *values
) {
    Reader reader = {data, size, place[0], place[1], 0};
    for (int64_t k = 0; k < count; k++) {
        int64_t slot = reader.state & ((1 << SCALE_BITS) - 1), symbol = lookup[slot];
        reader.state = freq[symbol] * (reader.state >> SCALE_BITS) + slot - start[symbol];
        refill(&reader);
        int64_t value = symbol == symbols - 1 ? escaped(&reader, edge) : symbol_values[symbol];
        if (reader.ended || value > LARGEST || value < -LARGEST) return -1;
        if (shift) {
            value = value * ((int64_t)1 << shift) + take_bits(&reader, shift) - ((int64_t)1 << shift >> 1);
            if (reader.ended || value > LARGEST || value < -LARGEST) return -1;
        }
        values[k] = (int32_t)value;
    }
    place[0] = reader.position, place[1] = reader.state;
    return 0;
}
