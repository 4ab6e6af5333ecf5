// ----------------------------------------------------------------------------- batch normalisation
//
// x is [G, rows, C]. A chunk of CHUNK rows is summed by 8 threads per channel, and chunks are
// merged in order, in double precision.
#define CHUNK 256
#define CHANNELS 32
#define LANES 8

// Sums over the lanes of a channel, in order.
INLINE float lanes_sum(float lanes[LANES][CHANNELS], int channel) {
    float sum = 0.0f;
    UNROLL for (int lane = 0; lane < LANES; lane++) sum += lanes[lane][channel];
    return sum;
}

// Mean and sum of squared deviations of each chunk. Grid: blocks of channels, chunks, runs. p: x,
// chunks [G, chunks, 2, C]. n: rows, C.
KERNEL(norm_chunks) {
    SHARED float lanes[LANES][CHANNELS], means[CHANNELS];
    PRIVATE(float, sum, 1);
    const int rows = a.n[0], c = a.n[1], chunks = (rows + CHUNK - 1) / CHUNK;
    const int first = BLOCK_Y * CHUNK, end = smaller(rows, first + CHUNK);
    const float *x = FLOATS(0) + (Size)BLOCK_Z * rows * c;
    float *out = FLOATS(1) + ((Size)BLOCK_Z * chunks + BLOCK_Y) * 2 * c;
    EACH_THREAD {
        const int channel = BLOCK_X * CHANNELS + t % CHANNELS;
        MINE(sum)[0] = 0.0f;
        if (channel < c)
            for (int r = first + t / CHANNELS; r < end; r += LANES) MINE(sum)[0] += x[(Size)r * c + channel];
        lanes[t / CHANNELS][t % CHANNELS] = MINE(sum)[0];
    }
    BARRIER;
    EACH_THREAD {
        if (t < CHANNELS) means[t] = lanes_sum(lanes, t) / (float)(end - first);
    }
    BARRIER;
    EACH_THREAD {
        const int channel = BLOCK_X * CHANNELS + t % CHANNELS;
        const float mean = means[t % CHANNELS];
        MINE(sum)[0] = 0.0f;
        if (channel < c)
            for (int r = first + t / CHANNELS; r < end; r += LANES) {
                const float d = x[(Size)r * c + channel] - mean;
                MINE(sum)[0] += d * d;
            }
        lanes[t / CHANNELS][t % CHANNELS] = MINE(sum)[0];
    }
    BARRIER;
    EACH_THREAD {
        const int channel = BLOCK_X * CHANNELS + t;
        if (t < CHANNELS && channel < c) {
            out[channel] = means[t];
            out[c + channel] = lanes_sum(lanes, t);
        }
    }
}

// Statistics of the batch from its chunks. Grid: blocks of channels, runs. p: chunks, statistics
// [G, 2, C] (mean, variance). n: rows, C.
KERNEL(norm_merge) {
    const int rows = a.n[0], c = a.n[1], chunks = (rows + CHUNK - 1) / CHUNK;
    EACH_THREAD {
        const int channel = BLOCK_X * THREADS + t;
        if (channel < c) {
            double mean = 0.0, squares = 0.0, count = 0.0;
            for (int chunk = 0; chunk < chunks; chunk++) {
                const float *in = FLOATS(0) + ((Size)BLOCK_Y * chunks + chunk) * 2 * c;
                const double size = smaller(CHUNK, rows - chunk * CHUNK), delta = in[channel] - mean, total = count + size;
                mean += delta * size / total;
                squares += in[c + channel] + delta * delta * count * size / total;
                count = total;
            }
            float *out = FLOATS(1) + (Size)BLOCK_Y * 2 * c;
            out[channel] = (float)mean;
            out[c + channel] = (float)(squares / count);
        }
    }
}

// Moves running statistics towards the batch's, with the unbiased variance, as in
// torch.nn.BatchNorm2d. Grid: blocks of channels, runs. p: statistics [G, 2, C], running, active
// i32 [G]. n: rows, C, where they start in a run's running statistics (mean, then variance),
// distance between runs. f: momentum.
KERNEL(norm_track) {
    const int c = a.n[1];
    const double momentum = a.f[0], unbias = a.n[0] > 1 ? (double)a.n[0] / (a.n[0] - 1) : 2.0 * a.n[0];
    EACH_THREAD {
        const int channel = BLOCK_X * THREADS + t;
        if (channel < c && ((const int *)a.p[2])[BLOCK_Y]) {
            const float *batch = FLOATS(0) + (Size)BLOCK_Y * 2 * c;
            float *running = FLOATS(1) + a.n[2] + (Size)BLOCK_Y * a.n[3];
            running[channel] = (float)((1.0 - momentum) * running[channel] + momentum * batch[channel]);
            running[c + channel] =
                (float)((1.0 - momentum) * running[c + channel] + momentum * unbias * batch[c + channel]);
        }
    }
}

// A channel's normalisation, before the activation.
INLINE float scale_of(float variance, float weight) { return weight / sqrtf(variance + (float)EPS); }

INLINE float normal(float x, float mean, float scale, float bias) { return scale * (x - mean) + bias; }

INLINE float rectified(float sign, float value, float slope) { return sign > 0.0f ? value : slope * value; }

// y = f(norm(x)). Grid: blocks of elements, runs. p: x, statistics, learnt, y. n: rows, C, where
// weight and bias start in a run's parameters, distance between runs there, where the statistics
// start in a run's part, distance between runs there. f: slope.
KERNEL(norm_forward) {
    const int c = a.n[1], len = a.n[0] * c;
    EACH_THREAD {
        const int at = BLOCK_X * THREADS + t, channel = at % c;
        if (at < len) {
            const float *stats = FLOATS(1) + a.n[4] + (Size)BLOCK_Y * a.n[5], *learnt = FLOATS(2) + a.n[2] + (Size)BLOCK_Y * a.n[3];
            const float scale = scale_of(stats[c + channel], learnt[channel]);
            const float y = normal(FLOATS(0)[(Size)BLOCK_Y * len + at], stats[channel], scale, learnt[c + channel]);
            FLOATS(3)[(Size)BLOCK_Y * len + at] = rectified(y, y, FACTOR(0));
        }
    }
}

// Per chunk and channel: sums of g and of g * (x - mean), where g is the gradient before the
// activation. Grid: blocks of channels, chunks, runs. p: x, dy, statistics, learnt, chunks
// [G, chunks, 2, C]. n: rows, C, where weight and bias start, distance between runs. f: slope.
KERNEL(norm_backward_chunks) {
    SHARED float sums[LANES][CHANNELS], dots[LANES][CHANNELS];
    const int rows = a.n[0], c = a.n[1], chunks = (rows + CHUNK - 1) / CHUNK;
    const int first = BLOCK_Y * CHUNK, end = smaller(rows, first + CHUNK);
    const float *x = FLOATS(0) + (Size)BLOCK_Z * rows * c, *dy = FLOATS(1) + (Size)BLOCK_Z * rows * c;
    float *out = FLOATS(4) + ((Size)BLOCK_Z * chunks + BLOCK_Y) * 2 * c;
    EACH_THREAD {
        const int channel = BLOCK_X * CHANNELS + t % CHANNELS;
        float sum = 0.0f, dot = 0.0f;
        if (channel < c) {
            const float *stats = FLOATS(2) + (Size)BLOCK_Z * 2 * c, *learnt = FLOATS(3) + a.n[2] + (Size)BLOCK_Z * a.n[3];
            const float mean = stats[channel], bias = learnt[c + channel];
            const float scale = scale_of(stats[c + channel], learnt[channel]);
            for (int r = first + t / CHANNELS; r < end; r += LANES) {
                const float value = x[(Size)r * c + channel];
                const float g = rectified(normal(value, mean, scale, bias), dy[(Size)r * c + channel], FACTOR(0));
                sum += g;
                dot += g * (value - mean);
            }
        }
        sums[t / CHANNELS][t % CHANNELS] = sum;
        dots[t / CHANNELS][t % CHANNELS] = dot;
    }
    BARRIER;
    EACH_THREAD {
        const int channel = BLOCK_X * CHANNELS + t;
        if (t < CHANNELS && channel < c) {
            out[channel] = lanes_sum(sums, t);
            out[c + channel] = lanes_sum(dots, t);
        }
    }
}

// Gradients of weight and bias, and what the input's gradient needs per channel. Grid: blocks of
// channels, runs. p: chunks, statistics, gradients, terms [G, 2, C] (constant, tilt). n: rows, C,
// where they start in a run's gradients, distance between runs there, whether to write parameter
// gradients, and whether to add them to what is there.
KERNEL(norm_backward_merge) {
    const int rows = a.n[0], c = a.n[1], chunks = (rows + CHUNK - 1) / CHUNK;
    EACH_THREAD {
        const int channel = BLOCK_X * THREADS + t;
        if (channel < c) {
            double sum = 0.0, dot = 0.0;
            for (int chunk = 0; chunk < chunks; chunk++) {
                const float *in = FLOATS(0) + ((Size)BLOCK_Y * chunks + chunk) * 2 * c;
                sum += in[channel];
                dot += in[c + channel];
            }
            const double inverse = 1.0 / sqrt((double)FLOATS(1)[(Size)BLOCK_Y * 2 * c + c + channel] + EPS);
            float *terms = FLOATS(3) + (Size)BLOCK_Y * 2 * c;
            terms[channel] = (float)(sum / rows);
            terms[c + channel] = (float)(dot * inverse * inverse / rows);
            if (a.n[4]) {
                float *to = FLOATS(2) + a.n[2] + (Size)BLOCK_Y * a.n[3];
                to[channel] = (float)(dot * inverse) + (a.n[5] ? to[channel] : 0.0f);
                to[c + channel] = (float)sum + (a.n[5] ? to[c + channel] : 0.0f);
            }
        }
    }
}

// dx = scale * (g - constant - (x - mean) * tilt). Grid: blocks of elements, runs. p: x, dy,
// statistics, learnt, terms, dx. n: rows, C, where weight and bias start, distance between runs.
// f: slope.
KERNEL(norm_backward_input) {
    const int c = a.n[1], len = a.n[0] * c;
    EACH_THREAD {
        const int at = BLOCK_X * THREADS + t, channel = at % c;
        if (at < len) {
            const float *stats = FLOATS(2) + (Size)BLOCK_Y * 2 * c, *learnt = FLOATS(3) + a.n[2] + (Size)BLOCK_Y * a.n[3];
            const float *terms = FLOATS(4) + (Size)BLOCK_Y * 2 * c;
            const float mean = stats[channel], scale = scale_of(stats[c + channel], learnt[channel]);
            const float x = FLOATS(0)[(Size)BLOCK_Y * len + at];
            const float y = normal(x, mean, scale, learnt[c + channel]);
            const float g = rectified(y, FLOATS(1)[(Size)BLOCK_Y * len + at], FACTOR(0));
            FLOATS(5)[(Size)BLOCK_Y * len + at] = scale * (g - terms[channel] - (x - mean) * terms[c + channel]);
        }
    }
}
