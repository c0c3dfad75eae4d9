/* Residuals to words and back: tokens, plain bits, adaptive tables and interleaved range coders in one pass.

   The tables, the pieces and the lanes are those of adaptive.py, interleaved.py and tokens.py. */

#include "kernels.h"

enum {
    FAR = 56, NEAR = 8, COARSE = 8, CONTEXTS = FAR + FAR / COARSE * NEAR,
    DIRECT = 32, FINE = 2, PARTS = 4, FIRST = 5, LAST = 34, COUNT = DIRECT + PARTS * (LAST - FIRST + 1),
    ESCAPE = COUNT, BITS = 14, GROWN = 512, LEAST = 8, MOST_WEIGHT = 1 << 20, KEPT = 4,
    FIRST_PIECE = 1 << 13, LONGEST_PIECE = 1 << 18,
    GROUP = 6, /* bits of a slot that the first look-up leaves out */
    ONE = 1 << 8, SMALLER = 2 /* of rate.py */
};
enum { DAMAGED = -1, WRONG_BITS = -2 };
#define LOW ((uint64_t)1 << 31)

typedef struct {
    uint16_t frequency, start;
} Symbol;

typedef struct {
    int64_t weights[CONTEXTS][COUNT];
    Symbol symbols[CONTEXTS][COUNT + 1];
    uint8_t first[CONTEXTS][1 << (BITS - GROUP)]; /* symbol of the first slot of each group */
    uint32_t counts[CONTEXTS][COUNT];
} Tables;

API int64_t inrv_tables_size(void) { return sizeof(Tables); }

static void update(Tables *tables, int context) {
    const int64_t *weights = tables->weights[context];
    Symbol *symbols = tables->symbols[context];
    uint64_t total = 0, room = 1 << BITS, left = room - 1, frequency;
    int best = 0, start = 0, group = 0;
    for (int k = 0; k < COUNT; k++)
        if (weights[k] >= LEAST) total += (uint64_t)weights[k], room--;
    room--;
    symbols[ESCAPE].frequency = 1;
    for (int k = 0; k < COUNT; k++) {
        frequency = weights[k] >= LEAST ? 1 + (uint64_t)weights[k] * room / total : 0;
        symbols[k].frequency = (uint16_t)frequency;
        left -= frequency;
        if (frequency > symbols[best].frequency) best = k;
    }
    symbols[best].frequency = (uint16_t)(symbols[best].frequency + left);
    for (int k = 0; k <= ESCAPE; k++) {
        symbols[k].start = (uint16_t)start;
        start += symbols[k].frequency;
        while (group < 1 << (BITS - GROUP) && group << GROUP < start) tables->first[context][group++] = (uint8_t)k;
    }
}

/* New tables. */
API void inrv_tables_begin(Tables *tables, const int64_t *initial) {
    memset(tables->counts, 0, sizeof tables->counts);
    memcpy(tables->weights, initial, sizeof tables->weights);
    for (int c = 0; c < CONTEXTS; c++) update(tables, c);
}

/* Forget most of the counts. */
API void inrv_tables_start_stage(Tables *tables, const int64_t *initial) {
    for (int c = 0; c < CONTEXTS; c++) {
        for (int k = 0; k < COUNT; k++)
            tables->weights[c][k] = largest(tables->weights[c][k] / KEPT, initial[c * COUNT + k]);
        update(tables, c);
    }
}

/* Count the tokens of a piece. */
static void learn(Tables *tables) {
    for (int c = 0; c < CONTEXTS; c++) {
        int64_t *weights = tables->weights[c], sum = 0;
        uint32_t *counts = tables->counts[c], any = 0;
        for (int k = 0; k < COUNT; k++) any |= counts[k];
        if (!any) continue;
        for (int k = 0; k < COUNT; k++) sum += weights[k] += GROWN * (int64_t)counts[k];
        memset(counts, 0, sizeof tables->counts[c]);
        while (sum > MOST_WEIGHT) {
            sum = 0;
            for (int k = 0; k < COUNT; k++) sum += weights[k] >>= 1;
        }
        update(tables, c);
    }
}

/* End of the piece that begins at a symbol, see `pieces`. */
INLINE int64_t end_of_piece(int64_t begin, int64_t count) {
    int64_t length = begin == 0 ? FIRST_PIECE : least(3 * begin, LONGEST_PIECE);
    return least(count, begin + length);
}

INLINE int64_t steps_below(int64_t predicted, int64_t step) {
    return step == 1 ? predicted : (predicted + (step >> 1)) / step;
}

INLINE unsigned near_an_end(unsigned context, int64_t steps) {
    return steps < NEAR ? FAR + context / COARSE * NEAR + (unsigned)steps : context;
}

INLINE int64_t reconstructed(int64_t predicted, int64_t quantum, int64_t step, int64_t most, int64_t limit) {
    return clipped(predicted + clipped(quantum, -limit, limit) * step, 0, most);
}

INLINE int octave_of(uint64_t value) {
#ifdef __GNUC__
    return 63 - __builtin_clzll(value);
#else
    int octave = 0;
    while (value >>= 1) octave++;
    return octave;
#endif
}

typedef struct {
    const uint8_t *words, *rare, *bits;
    int64_t word_count, rare_count, bit_count; /* words of four bytes, rare tokens, bits */
    uint64_t *states;
    int64_t lanes;
} Block;

INLINE uint64_t word_at(const uint8_t *words, int64_t index) {
    const uint8_t *at = words + 4 * index;
    return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24;
}

/* The next bits of a string that holds them. */
INLINE uint64_t bits_at(const uint8_t *bits, int64_t position, int length) {
    uint64_t value = 0;
    int64_t byte = position >> 3;
    int have = 8 - (int)(position & 7);
    if (length == 0) return 0;
    value = bits[byte] >> (position & 7);
    for (; have < length; have += 8) value |= (uint64_t)bits[++byte] << have;
    return value & (((uint64_t)1 << length) - 1);
}

INLINE int64_t read_block(
    const Block *block, Tables *tables, void *values, int wide, const uint8_t *contexts, int64_t count, int64_t step,
    int64_t most
) {
    int64_t used = 0, escapes = 0, position = 0, limit = most / step + 1;
    for (int64_t begin = 0, end; begin < count; begin = end) {
        int64_t lane = 0;
        int short_of_bits = 0;
        end = end_of_piece(begin, count);
        for (int64_t i = begin; i < end; i++) {
            int64_t predicted = wide ? ((int64_t *)values)[i] : ((int32_t *)values)[i];
            int64_t below = steps_below(predicted, step), above = steps_below(most - predicted, step);
            int64_t both = least(below, above), folded, quantum;
            unsigned context = near_an_end(contexts[i], both);
            uint64_t x = block->states[lane], slot = x & ((1 << BITS) - 1);
            const Symbol *symbols = tables->symbols[context];
            unsigned token = tables->first[context][slot >> GROUP];
            while (slot >= (uint64_t)symbols[token].start + symbols[token].frequency) token++;
            x = symbols[token].frequency * (x >> BITS) + slot - symbols[token].start;
            if (x < LOW) {
                if (used == block->word_count) return DAMAGED;
                x = x << 32 | word_at(block->words, used++);
            }
            block->states[lane] = x;
            if (++lane == block->lanes) lane = 0;
            if (token == ESCAPE) {
                if (escapes == block->rare_count) return DAMAGED;
                token = block->rare[escapes++];
                if (token >= COUNT) return DAMAGED;
            }
            tables->counts[context][token]++;
            folded = token;
            if (token >= DIRECT) {
                int length = (int)(token - DIRECT) / PARTS + FIRST - FINE;
                folded = (int64_t)(PARTS + (token - DIRECT) % PARTS) << length;
                if (length > block->bit_count - position)
                    short_of_bits = 1; /* the plain path looks at all tokens of the piece first */
                else if (!short_of_bits) {
                    folded |= (int64_t)bits_at(block->bits, position, length);
                    position += length;
                }
            }
            if (folded <= 2 * both)
                quantum = folded & 1 ? (folded + 1) >> 1 : -(folded >> 1);
            else
                quantum = above > below ? folded - both : both - folded;
            predicted = reconstructed(predicted, quantum, step, most, limit);
            if (wide)
                ((int64_t *)values)[i] = predicted;
            else
                ((int32_t *)values)[i] = (int32_t)predicted;
        }
        if (short_of_bits) return WRONG_BITS;
        learn(tables);
    }
    if (used != block->word_count || escapes != block->rare_count) return DAMAGED;
    if ((position + 7) / 8 != block->bit_count / 8) return WRONG_BITS;
    return position & 7 && block->bits[position >> 3] >> (position & 7) ? WRONG_BITS : 0;
}

/* Turn predictions into integers, in place; 0, DAMAGED or WRONG_BITS. */
API int64_t inrv_read(
    void *values, int64_t wide, const uint8_t *contexts, int64_t count, int64_t step, int64_t most,
    const uint8_t *words, int64_t word_count, const uint8_t *rare, int64_t rare_count, const uint8_t *bits,
    int64_t bit_bytes, uint64_t *states, int64_t lanes, Tables *tables
) {
    Block block = {words, rare, bits, word_count, rare_count, 8 * bit_bytes, states, lanes};
    if (wide) return read_block(&block, tables, values, 1, contexts, count, step, most);
    if (step == 1) return read_block(&block, tables, values, 0, contexts, count, 1, most);
    return read_block(&block, tables, values, 0, contexts, count, step, most);
}

INLINE int64_t folded_of(int64_t size, int is_positive, int64_t both) {
    return size <= both ? 2 * size - (is_positive && size) : size + both;
}

INLINE unsigned token_of(int64_t folded, int *length) {
    *length = 0;
    if (folded < DIRECT) return (unsigned)folded;
    int octave = octave_of((uint64_t)folded);
    *length = octave - FINE;
    return (unsigned)(DIRECT + PARTS * (octave - FIRST) + ((folded >> *length) & (PARTS - 1)));
}

/* A magnitude that is worth its bits, see rate.py; `error` is what the nearest one leaves. */
static int64_t cheaper(
    int64_t size, int64_t error, int is_positive, int64_t both, const int64_t *costs, int64_t step, int64_t trade
) {
    int64_t best = 0, found = size;
    int bits;
    int64_t full = costs[token_of(folded_of(size, is_positive, both), &bits)];
    for (int64_t lower = 1; lower <= SMALLER && lower <= size; lower++) {
        int64_t saved = full - costs[token_of(folded_of(size - lower, is_positive, both), &bits)];
        int64_t gain = trade * step * saved - lower * (2 * error + lower * step) * ONE * ONE;
        if (gain > best) best = gain, found = size - lower;
    }
    return found;
}

/* Quantise what is left of `truth` and decode it: predictions become integers, and contexts those near an end;
   `folded` are what is coded. `ignored` may be null, and `costs`, of each token in each context. */
API void inrv_quantise(
    void *values, int64_t wide, const void *truth, const uint8_t *ignored, uint8_t *contexts, int64_t count,
    int64_t step, int64_t up, int64_t trade, int64_t most, const int64_t *costs, int64_t *folded
) {
    int64_t limit = most / step + 1;
    for (int64_t i = 0; i < count; i++) {
        int64_t predicted = wide ? ((int64_t *)values)[i] : ((int32_t *)values)[i];
        int64_t left = (wide ? ((const int64_t *)truth)[i] : ((const int32_t *)truth)[i]) - predicted;
        int64_t below = steps_below(predicted, step), above = steps_below(most - predicted, step);
        int64_t both = least(below, above), whole = left < 0 ? -left : left, size, quantum;
        size = step == 1 ? whole : (whole + up) / step;
        size = least(size, left < 0 ? below : above); /* it is, of integers within their range */
        size = ignored && ignored[i] ? 0 : size;
        contexts[i] = (uint8_t)near_an_end(contexts[i], both);
        if (costs && size)
            size = cheaper(size, whole - size * step, left > 0, both, costs + contexts[i] * COUNT, step, trade);
        quantum = left < 0 ? -size : size;
        folded[i] = folded_of(size, left > 0, both);
        predicted = reconstructed(predicted, quantum, step, most, limit);
        if (wide)
            ((int64_t *)values)[i] = predicted;
        else
            ((int32_t *)values)[i] = (int32_t)predicted;
    }
}

/* Frequency and start of each token, the rare tokens and the plain bits.

   symbols: 2 * count; rare: count; bits: 4 * count + 8 bytes, written up to the last whole eight;
   sizes: rare tokens and bytes of bits. */
API void inrv_tokens(
    const int64_t *folded, const uint8_t *contexts, int64_t count, Tables *tables, uint16_t *frequency,
    uint16_t *start, uint8_t *rare, uint8_t *bits, int64_t *sizes
) {
    int64_t escapes = 0, bytes = 0;
    uint64_t held = 0; /* bits that fill no byte */
    int holds = 0;
    for (int64_t begin = 0, end; begin < count; begin = end) {
        end = end_of_piece(begin, count);
        for (int64_t i = begin; i < end; i++) {
            int length;
            unsigned context = contexts[i], token = token_of(folded[i], &length);
            if (length) {
                held |= ((uint64_t)folded[i] & (((uint64_t)1 << length) - 1)) << holds;
                for (holds += length; holds >= 8; holds -= 8) bits[bytes++] = (uint8_t)held, held >>= 8;
            }
            const Symbol *symbol = &tables->symbols[context][token];
            if (!symbol->frequency) {
                rare[escapes++] = (uint8_t)token;
                symbol = &tables->symbols[context][ESCAPE];
            }
            frequency[i] = symbol->frequency, start[i] = symbol->start;
            tables->counts[context][token]++;
        }
        learn(tables);
    }
    if (holds) bits[bytes++] = (uint8_t)held;
    sizes[0] = escapes, sizes[1] = bytes;
}

/* Push a block on the lanes' stacks, the last symbol first; the number of its words, which end `words`. */
API int64_t inrv_push(
    uint64_t *states, int64_t lanes, const uint16_t *frequency, const uint16_t *start, int64_t count, uint8_t *words
) {
    int64_t written = 0, lane = count ? (count - 1) % lanes : 0;
    for (int64_t i = count - 1; i >= 0; i--) {
        uint64_t x = states[lane], f = frequency[i];
        if (x >= f << (63 - BITS)) {
            uint8_t *at = words + 4 * (count - ++written);
            at[0] = (uint8_t)x, at[1] = (uint8_t)(x >> 8), at[2] = (uint8_t)(x >> 16), at[3] = (uint8_t)(x >> 24);
            x >>= 32;
        }
        states[lane] = x / f * (((uint64_t)1 << BITS) - f) + x + start[i];
        lane = lane ? lane - 1 : lanes - 1;
    }
    return written;
}

/* Checksum of the sources, so that a library that was left over is not used. */
API uint32_t inrv_source(void) { return SOURCE; }
