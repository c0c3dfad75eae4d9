/* Prediction with sums of type SUM; included once for each. */

/* Copy a line around the voxels begin to begin + m of a row: one voxel before them and two behind. */
INLINE void NAME(fill)(SUM *out, const Place *p, const Line *line, int64_t z, int64_t y, int64_t begin, int64_t m) {
    int64_t n = p->extent[line->fresh][2], step = p->axis == 2 ? 1 : 2, spacing = p->spacing[2];
    int64_t start = start_of(p, line, z, y), stop = begin + m + 2, stride = step * spacing;
    int64_t within = n > line->odd ? (n - 1 - line->odd) / step + 1 : 0; /* voxels of the line that there are */
    int64_t from = least(most_of(begin - 1, 0), within), to = least(stop, within), j;
    const int32_t *narrow = (const int32_t *)p->volume + (p->wide ? 0 : start);
    const int64_t *wide = (const int64_t *)p->volume + (p->wide ? start : 0);
        for (j = begin - 1; j < stop; j++) {
        if (j == from && from < to) {
            j = to - 1;
            continue;
        }
        int64_t at = beyond(j * step + line->odd, n, line->fresh) * spacing;
        out[j - begin + 1] = (SUM)(p->wide ? wide[at] : narrow[at]);
    }
    if (p->wide)
        for (j = from; j < to; j++) out[j - begin + 1] = (SUM)wide[line->odd * spacing + j * stride];
    else if (stride == 1)
        for (j = from; j < to; j++) out[j - begin + 1] = (SUM)narrow[j];
    else if (stride == 2)
        for (j = from; j < to; j++) out[j - begin + 1] = (SUM)narrow[line->odd * spacing + 2 * j];
    else
        for (j = from; j < to; j++) out[j - begin + 1] = (SUM)narrow[line->odd * spacing + j * stride];
}

INLINE void NAME(tile)(
    const Place *p, const Model *model, const SUM *const *near, const SUM (*weights)[CLASSES], int m, int64_t at
) {
    SUM middle[TILE], expected[TILE], sums[TILE], rows[NEIGHBOURS][TILE], any = 0;
    SUM low, high;
    uint8_t context[TILE];
    int32_t class[TILE];
    for (int i = 0; i < m; i++) middle[i] = near[0][i] + near[1][i], expected[i] = 0;
    for (int n = 0; n < p->neighbours; n++) {
        const SUM *values = near[n], scale = (SUM)model->scales[n];
        for (int i = 0; i < m; i++) {
            SUM row = 2 * values[i] - middle[i];
            rows[n][i] = row;
            any |= row;
            expected[i] += scale * (row < 0 ? -row : row);
        }
    }
    if (!any) { /* all neighbours are equal */
        for (int i = 0; i < m; i++) sums[i] = 0;
        memset(context, 0, sizeof context);
    } else {
        low = high = expected[0];
        for (int i = 0; i < m; i++) {
            low = expected[i] < low ? expected[i] : low;
            high = expected[i] > high ? expected[i] : high;
        }
        int lowest = 0;
        while (lowest + 1 < CONTEXTS && model->thresholds[lowest + 1] <= low) lowest++;
        memset(context, lowest, sizeof context);
        for (int c = lowest + 1; c < CONTEXTS && model->thresholds[c] <= high; c++) {
            SUM threshold = (SUM)model->thresholds[c];
            for (int i = 0; i < m; i++) context[i] = (uint8_t)(context[i] + (expected[i] >= threshold));
        }
        for (int i = 0; i < m; i++) class[i] = 0, sums[i] = 0;
        for (int c = 1; c < model->classes; c++) {
            SUM bound = (SUM)model->bounds[c - 1];
            for (int i = 0; i < m; i++) class[i] += expected[i] >= bound;
        }
        for (int n = 0; n < p->neighbours; n++)
            for (int i = 0; i < m; i++) sums[i] += weights[n][class[i]] * rows[n][i];
    }
    memcpy(model->contexts + at, context, (size_t)m);
    SUM half = 1 << BITS, most = (SUM)model->most;
    for (int i = 0; i < m; i++) {
        SUM value = (middle[i] * half + sums[i] + half) >> (BITS + 1); /* rounds down, as all compilers do */
        value = value < 0 ? 0 : value > most ? most : value;
        if (p->wide)
            ((int64_t *)model->predicted)[at + i] = value;
        else
            ((int32_t *)model->predicted)[at + i] = (int32_t)value;
    }
}

FAST static void NAME(predict)(const Place *p, const Model *model, int64_t first, int64_t last) {
    SUM lines[NEIGHBOURS][TILE + 4], weights[NEIGHBOURS][CLASSES];
    const SUM *near[NEIGHBOURS];
    int64_t at = 0;
    for (int n = 0; n < p->neighbours; n++) {
        near[n] = lines[p->line_of[n]] + 1 + p->shift_of[n];
        for (int c = 0; c < CLASSES; c++)
            weights[n][c] = c < model->classes ? (SUM)model->weights[c * p->neighbours + n] : 0;
    }
    for (int64_t z = first; z < last; z++)
        for (int64_t y = 0; y < p->count[1]; y++)
            for (int64_t begin = 0; begin < p->count[2]; begin += TILE) {
                int64_t m = least(TILE, p->count[2] - begin);
                for (int l = 0; l < p->lines; l++)
                    NAME(fill)(
                        lines[l], p, &p->line[l], z * p->step[0] + p->first[0], y * p->step[1] + p->first[1],
                        begin, m
                    );
                NAME(tile)(p, model, near, (const SUM(*)[CLASSES])weights, (int)m, at);
                at += m;
            }
}
