/* Convolutions of 16-bit integers at given positions: the products of convolution.py.

   What a position reads is some runs of memory, one for each row of its neighbours with all their channels. Sums
   are modulo 2^32, so that their order is of no matter. */

#include "kernels.h"

#define BLOCK 16 /* outputs of which weights lie together */
enum { POSITIONS = 128, LARGEST_TILE = 8, MOST_BLOCKS = 3 };

typedef struct {
    const int16_t *x;
    const int64_t *runs; /* where each begins, from the place of a position */
    int64_t count, pairs; /* of runs, and of integers in each */
    const int16_t *weights; /* (blocks, runs, pairs, BLOCK, 2) */
} Layer;

/* Sums of `count` positions and of some blocks of outputs, (positions, blocks, BLOCK). */
typedef void Sums(const Layer *layer, const int64_t *places, int64_t count, int64_t block, int blocks, int32_t *sums);

INLINE int32_t wrapped(int32_t sum, uint32_t more) { return (int32_t)((uint32_t)sum + more); }

/* Which vectors are compiled at most: 0 none, 1 those that the compiler has by itself, 2 SSE2, 3 AVX2, 4 AVX-512. */
#ifdef NO_VECTORS
#define VECTORS 0
#elif !defined(VECTORS)
#define VECTORS 4
#endif

INLINE int32_t pair_at(const int16_t *x) {
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return pair;
}

#if (defined(__x86_64__) || defined(_M_X64)) && VECTORS > 1
#include <emmintrin.h>
#define NAME(x) x##_plain
#define TARGET
#define TILE 3
#define VECTOR __m128i
#define LANES 4
#define SPREAD(pair) _mm_set1_epi32(pair)
#define LOAD(p) _mm_loadu_si128((const __m128i *)(p))
#define STORE(p, v) _mm_storeu_si128((__m128i *)(p), v)
#define DOT(sum, a, b) _mm_add_epi32(sum, _mm_madd_epi16(a, b))
#define ZERO _mm_setzero_si128()
#include "convolve_tile.h"
#elif defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && VECTORS > 0
/* NEON and others: of a pair, the first integer is the low half of 32 bits. */
typedef uint32_t Lanes __attribute__((vector_size(16)));
typedef int32_t SignedLanes __attribute__((vector_size(16)));
typedef struct {
    Lanes even, odd;
} Weights;

INLINE Lanes load_lanes(const void *p) {
    Lanes lanes;
    memcpy(&lanes, p, sizeof lanes);
    return lanes;
}

INLINE Weights load_weights(const int16_t *p) {
    const SignedLanes both = (SignedLanes)load_lanes(p);
    const Weights weights = {(Lanes)((SignedLanes)((Lanes)both << 16) >> 16), (Lanes)(both >> 16)};
    return weights;
}

#define NAME(x) x##_plain
#define TARGET
#define TILE 4
#define VECTOR Lanes
#define LANES 4
#define PAIR int32_t
#define SPREAD(pair) (pair)
#define WEIGHTS Weights
#define LOAD_WEIGHTS(p) load_weights(p)
#define LOAD(p) load_lanes(p)
#define STORE(p, v) memcpy(p, &(v), sizeof(Lanes))
#define DOT(sum, a, b) ((sum) + (b).even * (uint32_t)(int16_t)(a) + (b).odd * (uint32_t)((a) >> 16))
#define ZERO ((Lanes){0, 0, 0, 0})
#include "convolve_tile.h"
#else
static void sums_plain(
    const Layer *layer, const int64_t *places, int64_t count, int64_t block, int blocks, int32_t *sums
) {
    memset(sums, 0, (size_t)(count * blocks * BLOCK) * sizeof *sums);
    for (int64_t k = 0; k < count; k++)
        for (int b = 0; b < blocks; b++, sums += BLOCK) {
            const int16_t *w = layer->weights + (block + b) * layer->count * layer->pairs * BLOCK * 2;
            for (int64_t run = 0; run < layer->count; run++) {
                const int16_t *x = layer->x + places[k] + layer->runs[run];
                for (int64_t pair = 0; pair < layer->pairs; pair++, x += 2, w += 2 * BLOCK)
                    for (int j = 0; j < BLOCK; j++)
                        sums[j] = wrapped(sums[j], (uint32_t)(x[0] * w[2 * j]) + (uint32_t)(x[1] * w[2 * j + 1]));
            }
        }
}
#endif

#if defined(__x86_64__) && defined(__GNUC__) && VECTORS > 2
#include <immintrin.h>
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2")))
#define TILE 6
#define VECTOR __m256i
#define LANES 8
#define SPREAD(pair) _mm256_set1_epi32(pair)
#define LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
#define STORE(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define DOT(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
#define ZERO _mm256_setzero_si256()
#include "convolve_tile.h"

#if VECTORS > 3
#define NAME(x) x##_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vnni")))
#define TILE 8
#define VECTOR __m512i
#define LANES 16
#define SPREAD(pair) _mm512_set1_epi32(pair)
#define LOAD(p) _mm512_loadu_si512(p)
#define STORE(p, v) _mm512_storeu_si512(p, v)
#define DOT(sum, a, b) _mm512_dpwssd_epi32(sum, a, b)
#define ZERO _mm512_setzero_si512()
#include "convolve_tile.h"
#endif

static Sums *best(int *most_blocks) {
    *most_blocks = 1;
#if VECTORS > 3
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni")) {
        *most_blocks = MOST_BLOCKS;
        return sums_avx512;
    }
#endif
    return __builtin_cpu_supports("avx2") ? sums_avx2 : sums_plain;
}
#else
static Sums *best(int *most_blocks) {
    *most_blocks = 1;
    return sums_plain;
}
#endif

/* What becomes of sums: they are kept (SUMS), or rounded to maps (ROUNDED), or to angles whose sine is taken (WAVES). */
enum { SUMS, ROUNDED, WAVES, FINE = 12, TURN = 10430, TURNS = 16, SINES = 4096, SHORT = 32767 };

typedef struct {
    int64_t kind, shift; /* bits that are rounded away, of ROUNDED at least 1 */
    int64_t least; /* ROUNDED: the smallest map */
    const int16_t *base; /* ROUNDED: what is added, (count, outputs); or none */
    const int64_t *gain, *offset; /* WAVES: (outputs,), of FINE bits */
    const int16_t *sines; /* WAVES: of a turn */
} Finish;

/* Divided by a power of two, to the nearest; halves go up. */
INLINE int64_t down(int64_t x, int64_t bits) { return bits ? (x >> bits) + (x >> (bits - 1) & 1) : x; }

INLINE int16_t wave_of(const Finish *f, int32_t sum, int64_t output) {
    const uint64_t angle = (uint64_t)down(sum, f->shift) * (uint64_t)f->gain[output];
    const uint64_t moved = (uint64_t)down((int64_t)angle, FINE) + (uint64_t)f->offset[output];
    return f->sines[down((int64_t)(moved * TURN), TURNS) & (SINES - 1)];
}

/* `some` outputs from `first` on of a position. */
INLINE void finish(
    const Finish *f, const int32_t *sums, const int32_t *bias, int64_t at, int64_t first, int64_t some, void *out
) {
    int32_t *wide = (int32_t *)out + at;
    int16_t *narrow = (int16_t *)out + at;
    const int shift = (int)f->shift;
    const int32_t low = (int32_t)f->least;
    if (f->kind == SUMS)
        for (int64_t j = 0; j < some; j++) wide[j] = wrapped(sums[j], (uint32_t)bias[j]);
    else if (f->kind == ROUNDED)
        for (int64_t j = 0; j < some; j++) {
            const int32_t sum = wrapped(sums[j], (uint32_t)bias[j]);
            const int32_t map = (sum >> shift) + (sum >> (shift - 1) & 1) + (f->base ? f->base[at + j] : 0);
            narrow[j] = (int16_t)(map < low ? low : map > SHORT ? SHORT : map);
        }
    else
        for (int64_t j = 0; j < some; j++)
            narrow[j] = wave_of(f, wrapped(sums[j], (uint32_t)bias[j]), first + j);
}

/* Sums of `count` positions, (count, outputs), int32, or maps of them, int16; see Finish.

   places: of each position in x, from where its first run begins; runs, pairs: see Layer; weights: zeros behind the
   last output; bias: (outputs,). */
API void inrv_convolve(
    const int16_t *x, const int64_t *places, int64_t count, const int64_t *runs, int64_t run_count, int64_t pairs,
    const int16_t *weights, int64_t outputs, const int32_t *bias, int64_t kind, int64_t shift, int64_t low,
    const int16_t *base, const int64_t *gain, const int64_t *offset, const int16_t *sines, void *out
) {
    const Layer layer = {x, runs, run_count, pairs, weights};
    const Finish last = {kind, shift, low, base, gain, offset, sines};
    int most_blocks;
    Sums *sums_of = best(&most_blocks);
    int32_t sums[(POSITIONS + LARGEST_TILE) * MOST_BLOCKS * BLOCK];
    const int64_t all = (outputs + BLOCK - 1) / BLOCK;
    for (int64_t first = 0; first < count; first += POSITIONS) {
        const int64_t some = least(POSITIONS, count - first);
        for (int64_t block = 0, blocks; block < all; block += blocks) {
            blocks = all - block == 4 ? least(2, most_blocks) : least(most_blocks, all - block);
            sums_of(&layer, places + first, some, block, (int)blocks, sums);
            const int64_t output = block * BLOCK, wide = blocks * BLOCK;
            for (int64_t k = 0; k < some; k++)
                finish(
                    &last, sums + k * wide, bias + output, (first + k) * outputs + output, output,
                    least(wide, outputs - output), out
                );
        }
    }
}
