/* Prediction with sums of type SUM, for the instructions of TARGET; included once for each. */

/* Copy a line around the voxels begin to begin + m of a row: one voxel before them and two behind. */
TARGET INLINE void NAME(fill)(
    SUM *out, const Place *p, const Line *line, int64_t z, int64_t y, int64_t begin, int64_t m
) {
    int64_t n = p->extent[line->fresh][2], step = p->step[2], stop = begin + m + 2, start = start_of(p, line, z, y);
    int64_t within = n > line->odd ? (n - 1 - line->odd) / step + 1 : 0; /* voxels of the line that there are */
    int64_t from = least(largest(begin - 1, 0), within), to = least(stop, within), j;
    for (j = begin - 1; j < stop; j++) {
        if (j == from && from < to) {
            j = to - 1;
            continue;
        }
        out[j - begin + 1] = (SUM)voxel_at(p, line, start + beyond(j * step + line->odd, n, line->fresh));
    }
    start += from * step + line->odd, to -= from;
    out += from - begin + 1;
    const int64_t *wide = (const int64_t *)p->voxels[line->fresh] + (p->wide ? start : 0);
    const int32_t *narrow = (const int32_t *)p->voxels[line->fresh] + (p->wide ? 0 : start);
    if (p->wide)
        for (j = 0; j < to; j++) out[j] = (SUM)wide[j * step];
    else if (step == 1)
        for (j = 0; j < to; j++) out[j] = (SUM)narrow[j];
    else
        for (j = 0; j < to; j++) out[j] = (SUM)narrow[2 * j];
}

/* Middles and expected errors of a tile; whether the neighbours of any voxel differ. */
TARGET INLINE int NAME(expect)(
    const Place *p, const SUM *const *near, const SUM *scales, SUM *middle, SUM *expected, int m
) {
#ifdef AVX2
    __m256i any = _mm256_setzero_si256();
    for (int i = 0; i < m; i += 8) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(near[0] + i)), sum = _mm256_setzero_si256();
        __m256i both = _mm256_add_epi32(a, _mm256_loadu_si256((const __m256i *)(near[1] + i)));
        for (int n = 0; n < p->neighbours; n++) {
            __m256i row = _mm256_loadu_si256((const __m256i *)(near[n] + i));
            row = _mm256_abs_epi32(_mm256_sub_epi32(_mm256_add_epi32(row, row), both));
            any = _mm256_or_si256(any, row);
            sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(row, _mm256_set1_epi32(scales[n])));
        }
        _mm256_storeu_si256((__m256i *)(middle + i), both);
        _mm256_storeu_si256((__m256i *)(expected + i), sum);
    }
    return !_mm256_testz_si256(any, any);
#else
    SUM any = 0;
    for (int i = 0; i < m; i++) middle[i] = near[0][i] + near[1][i], expected[i] = 0;
    for (int n = 0; n < p->neighbours; n++)
        for (int i = 0; i < m; i++) {
            SUM row = 2 * near[n][i] - middle[i];
            any |= row;
            expected[i] += scales[n] * (row < 0 ? -row : row);
        }
    return any != 0;
#endif
}

/* Weighted sums of the rows of a tile, with the weights of each voxel's class. */
TARGET INLINE void NAME(weigh)(
    const Place *p, const SUM *const *near, const SUM (*weights)[CLASSES], const SUM *middle, const int32_t *classes,
    SUM *sums, int m
) {
#ifdef AVX2
    for (int i = 0; i < m; i += 8) {
        __m256i both = _mm256_loadu_si256((const __m256i *)(middle + i)), sum = _mm256_setzero_si256();
        __m256i class = _mm256_loadu_si256((const __m256i *)(classes + i));
        for (int n = 0; n < p->neighbours; n++) {
            __m256i row = _mm256_loadu_si256((const __m256i *)(near[n] + i));
            __m256i weight = _mm256_loadu_si256((const __m256i *)weights[n]);
            row = _mm256_sub_epi32(_mm256_add_epi32(row, row), both);
            weight = _mm256_permutevar8x32_epi32(weight, class);
            sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(row, weight));
        }
        _mm256_storeu_si256((__m256i *)(sums + i), sum);
    }
#else
    for (int i = 0; i < m; i++) sums[i] = 0;
    for (int n = 0; n < p->neighbours; n++)
        for (int i = 0; i < m; i++) sums[i] += weights[n][classes[i]] * (2 * near[n][i] - middle[i]);
#endif
}

TARGET INLINE void NAME(tile)(
    const Place *p, const Model *model, const SUM *const *near, const SUM *scales, const SUM (*weights)[CLASSES],
    int m, int64_t at
) {
    SUM middle[TILE], expected[TILE], sums[TILE] = {0};
    int32_t contexts[TILE] = {0}, classes[TILE] = {0};
    if (NAME(expect)(p, near, scales, middle, expected, m)) {
        SUM low = expected[0], high = expected[0];
        for (int i = 0; i < m; i++) {
            low = expected[i] < low ? expected[i] : low;
            high = expected[i] > high ? expected[i] : high;
        }
        int first = 1, c;
        while (first < CONTEXTS && model->thresholds[first] <= low) first++;
        for (int i = 0; i < m; i++) contexts[i] = first - 1;
        for (c = first; c < CONTEXTS && model->thresholds[c] <= high; c++) {
            SUM threshold = (SUM)model->thresholds[c];
            for (int i = 0; i < m; i++) contexts[i] += expected[i] >= threshold;
        }
        for (c = 1; c < model->classes && model->bounds[c - 1] <= high; c++) {
            SUM bound = (SUM)model->bounds[c - 1];
            for (int i = 0; i < m; i++) classes[i] += expected[i] >= bound;
        }
        NAME(weigh)(p, near, weights, middle, classes, sums, m);
    } /* else all neighbours are equal */
    SUM half = 1 << BITS, most = (SUM)model->most;
    for (int i = 0; i < m; i++) {
        SUM value = (middle[i] * half + sums[i] + half) >> (BITS + 1); /* rounds down, as all compilers do */
        sums[i] = value < 0 ? 0 : value > most ? most : value;
    }
    for (int i = 0; i < m; i++) model->contexts[at + i] = (uint8_t)contexts[i];
    if (p->wide)
        for (int i = 0; i < m; i++) ((int64_t *)model->predicted)[at + i] = sums[i];
    else
        for (int i = 0; i < m; i++) ((int32_t *)model->predicted)[at + i] = (int32_t)sums[i];
}

TARGET static void NAME(predict)(const Place *p, const Model *model, int64_t first, int64_t last) {
    SUM lines[NEIGHBOURS][TILE + 16], scales[NEIGHBOURS], weights[NEIGHBOURS][CLASSES];
    const SUM *near[NEIGHBOURS];
    int64_t at = 0;
    memset(lines, 0, sizeof lines); /* vectors read beyond the end of a tile */
    for (int n = 0; n < p->neighbours; n++) {
        near[n] = lines[p->line_of[n]] + 1 + p->shift_of[n];
        scales[n] = (SUM)model->scales[n];
        for (int c = 0; c < CLASSES; c++)
            weights[n][c] = c < model->classes ? (SUM)model->weights[c * p->neighbours + n] : 0;
    }
    for (int64_t z = first; z < last; z++)
        for (int64_t y = 0; y < p->count[1]; y++)
            for (int64_t begin = 0; begin < p->count[2]; begin += TILE) {
                int64_t m = least(TILE, p->count[2] - begin);
                int64_t row = z * p->step[0] + p->first[0], line = y * p->step[1] + p->first[1];
                for (int l = 0; l < p->lines; l++) NAME(fill)(lines[l], p, &p->line[l], row, line, begin, m);
                NAME(tile)(p, model, near, scales, (const SUM(*)[CLASSES])weights, (int)m, at);
                at += m;
            }
}
