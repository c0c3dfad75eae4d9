/* Steps of latents: the loops of logistic.py. */

#include "kernels.h"

enum { TABLE = 16, MOST_ZEROS = 24, COARSE = 8, ENDED = -1, BEYOND = -2 };
#define LOW ((uint64_t)1 << 32)
#define SLOT (((uint64_t)1 << TABLE) - 1)

typedef struct {
    uint64_t state;
    uint8_t *words;
    int64_t left; /* words that there is room for */
} Writer;

INLINE void put_word(Writer *w) {
    uint8_t *word = w->words + 2 * --w->left;
    word[0] = (uint8_t)w->state, word[1] = (uint8_t)(w->state >> 8);
    w->state >>= TABLE;
}

/* Bits, the highest first, so that the lowest is put first. */
INLINE void put_bits(Writer *w, uint64_t bits, int count) {
    for (int k = 0; k < count; k++, bits >>= 1) {
        if (w->state >= LOW << (TABLE - 1)) put_word(w);
        const uint64_t low = w->state & (SLOT >> 1);
        w->state = (w->state >> (TABLE - 1) << TABLE) + low + ((bits & 1) << (TABLE - 1));
    }
}

/* Put `count` steps, the last one first; the place of the first word, or -1 where there was no room.

   state: moved; words: `room`, filled from the end. */
API int64_t inrv_logistic_push(
    int64_t *state, const int32_t *steps, const uint8_t *index, int64_t count, const uint8_t *shift,
    const int16_t *reach, const int64_t *first, const uint32_t *starts, uint8_t *words, int64_t room
) {
    Writer w = {(uint64_t)state[0], words, room};
    for (int64_t k = count - 1; k >= 0; k--) {
        const int scale = index[k], low = shift[scale];
        const int64_t most = reach[scale], step = steps[k], high = step >> low, size = high < 0 ? -high : high;
        const uint32_t *table = starts + first[scale];
        if (w.left < 7) return -1;
        put_bits(&w, (uint64_t)step, low);
        if (size > most) {
            const uint64_t over = (uint64_t)(size - most);
            int length = 0;
            while (over >> length) length++;
            put_bits(&w, high < 0, 1);
            put_bits(&w, over, length);
            put_bits(&w, 0, length - 1);
        }
        const int64_t symbol = size > most ? 2 * most + 1 : high + most;
        const uint64_t start = table[symbol], frequency = table[symbol + 1] - start;
        if (w.state >= frequency << 32) put_word(&w);
        w.state = (w.state / frequency << TABLE) + w.state % frequency + start;
    }
    state[0] = (int64_t)w.state;
    return w.left;
}

typedef struct {
    const uint8_t *words;
    int64_t size, used;
    uint64_t state;
    int ended; /* before its last step */
} Reader;

INLINE void refill(Reader *r) {
    if (r->state < LOW) {
        if (r->used == r->size) {
            r->ended = 1, r->state = LOW;
            return;
        }
        const uint8_t *word = r->words + 2 * r->used++;
        r->state = r->state << TABLE | (uint64_t)word[1] << 8 | word[0];
    }
}

INLINE uint64_t take_bit(Reader *r) {
    const uint64_t bit = r->state >> (TABLE - 1) & 1;
    r->state = (r->state >> TABLE << (TABLE - 1)) + (r->state & (SLOT >> 1));
    refill(r);
    return bit;
}

/* What is beyond a table, with its sign; 0 where it is too far. */
static int64_t escaped(Reader *r, int64_t reach) {
    int zeros = 0;
    while (!take_bit(r))
        if (++zeros > MOST_ZEROS || r->ended) return 0;
    int64_t over = 1;
    for (int k = 0; k < zeros; k++) over = 2 * over + (int64_t)take_bit(r);
    return take_bit(r) ? -(over + reach) : over + reach;
}

/* Take `count` steps; 0, ENDED or BEYOND.

   words: `size`, little-endian; place: words that were used and the state, which are moved. */
API int64_t inrv_logistic_pull(
    const uint8_t *words, int64_t size, int64_t *place, const uint8_t *index, int64_t count, const uint8_t *shift,
    const int16_t *reach, const int64_t *first, const uint32_t *starts, const uint16_t *coarse, int32_t *steps
) {
    Reader r = {words, size, place[0], (uint64_t)place[1], 0};
    int64_t found = 0;
    for (int64_t k = 0; k < count && !found; k++) {
        const int scale = index[k];
        const uint32_t slot = (uint32_t)(r.state & SLOT), *table = starts + first[scale];
        int64_t symbol = coarse[(scale << (TABLE - COARSE)) + (slot >> COARSE)];
        while (table[symbol + 1] <= slot) symbol++;
        r.state = (uint64_t)(table[symbol + 1] - table[symbol]) * (r.state >> TABLE) + slot - table[symbol];
        refill(&r);
        int64_t step = symbol - reach[scale];
        if (step > reach[scale] && !(step = escaped(&r, reach[scale]))) {
            found = r.ended ? ENDED : BEYOND;
            break;
        }
        for (int bit = 0; bit < shift[scale]; bit++) step = 2 * step + (int64_t)take_bit(&r);
        if (step != (int32_t)step) found = BEYOND;
        if (r.ended) found = ENDED;
        steps[k] = (int32_t)step;
    }
    place[0] = r.used, place[1] = (int64_t)r.state;
    return found;
}
