/* Sums of positions, TILE of them at a time, for the vectors of TARGET; included once for each. */

#ifndef UNROLLED
#ifdef _MSC_VER
#define UNROLLED
#elif defined(__clang__)
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED _Pragma("GCC unroll 8")
#endif
#endif

#ifndef PAIR /* what a vector holds once more */
#define PAIR VECTOR
#define WEIGHTS VECTOR
#define LOAD_WEIGHTS LOAD
#endif

/* One run of TILE positions: their sums, (TILE, blocks, BLOCK), stay in registers. */
TARGET INLINE void NAME(run)(
    const int16_t *const *x, const int16_t *weights, int64_t stride, int64_t pairs, const int blocks, int first,
    int32_t *sums
) {
    enum { PARTS = BLOCK / LANES };
    VECTOR sum[TILE][MOST_BLOCKS * PARTS];
    const int parts = blocks * PARTS;
    UNROLLED
    for (int p = 0; p < TILE; p++)
        UNROLLED
        for (int q = 0; q < parts; q++) sum[p][q] = first ? ZERO : LOAD(sums + (p * parts + q) * LANES);
    for (int64_t k = 0; k < pairs; k++) {
        WEIGHTS w[MOST_BLOCKS * PARTS];
        UNROLLED
        for (int q = 0; q < parts; q++)
            w[q] = LOAD_WEIGHTS(weights + q / PARTS * stride + (k * PARTS + q % PARTS) * 2 * LANES);
        UNROLLED
        for (int p = 0; p < TILE; p++) {
            const PAIR pair = SPREAD(pair_at(x[p] + 2 * k));
            UNROLLED
            for (int q = 0; q < parts; q++) sum[p][q] = DOT(sum[p][q], pair, w[q]);
        }
    }
    UNROLLED
    for (int p = 0; p < TILE; p++)
        UNROLLED
        for (int q = 0; q < parts; q++) STORE(sums + (p * parts + q) * LANES, sum[p][q]);
}

TARGET static void NAME(sums)(
    const Layer *layer, const int64_t *places, int64_t count, int64_t block, int blocks, int32_t *sums
) {
    const int64_t of_run = layer->pairs * BLOCK * 2, stride = layer->count * of_run;
    for (int64_t run = 0; run < layer->count; run++) {
        const int16_t *weights = layer->weights + block * stride + run * of_run;
        for (int64_t k = 0; k < count; k += TILE) {
            const int16_t *x[TILE];
            int32_t *to = sums + k * blocks * BLOCK;
            /* Behind the last position it is done again, for nobody. */
            for (int p = 0; p < TILE; p++) x[p] = layer->x + places[least(k + p, count - 1)] + layer->runs[run];
#if LANES == BLOCK
            if (blocks == 3)
                NAME(run)(x, weights, stride, layer->pairs, 3, run == 0, to);
            else if (blocks == 2)
                NAME(run)(x, weights, stride, layer->pairs, 2, run == 0, to);
            else
                NAME(run)(x, weights, stride, layer->pairs, 1, run == 0, to);
#else
            NAME(run)(x, weights, stride, layer->pairs, 1, run == 0, to);
#endif
        }
    }
}

#undef NAME
#undef TARGET
#undef TILE
#undef VECTOR
#undef LANES
#undef SPREAD
#undef LOAD
#undef STORE
#undef DOT
#undef ZERO
#undef PAIR
#undef WEIGHTS
#undef LOAD_WEIGHTS
