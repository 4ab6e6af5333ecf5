// Every kernel of a training step and of scoring, in float32, for G runs at once.
//
// The same source runs on the card and on the host: between two barriers a block is a loop over its threads, which
// the card takes side by side and the host one after another. What a thread keeps over a barrier is PRIVATE. So the tests run
// these very lines, index for index, on a machine without a card.
//
// Activations are [G, N, H, W, C], weights [G][K, K, I, O] with a distance between runs of their own. Sums have a fixed order.

#ifdef __CUDACC__
#define KERNEL(name) extern "C" __global__ void __launch_bounds__(256) name(const Args a)
#define BLOCK_X ((int)blockIdx.x)
#define BLOCK_Y ((int)blockIdx.y)
#define BLOCK_Z ((int)blockIdx.z)
#define SHARED __shared__
#define BARRIER __syncthreads()
#define EACH_THREAD for (int t = (int)threadIdx.x, once = 1; once; once = 0)
#define PRIVATE(type, name, n) type name[1][n]
#define MINE(name) name[0]
#define INLINE static __device__ __forceinline__
#define UNROLL _Pragma("unroll")
typedef unsigned long long Size;
#else
#include <math.h>
#define KERNEL(name) void name(const Args a, int block_x, int block_y, int block_z)
#define BLOCK_X block_x
#define BLOCK_Y block_y
#define BLOCK_Z block_z
#define SHARED
#define BARRIER
#define EACH_THREAD for (int t = 0; t < 256; t++)
#define PRIVATE(type, name, n) type name[256][n]
#define MINE(name) name[t]
#define INLINE static inline
#define UNROLL
typedef unsigned long long Size;
#endif

// What a launch is given: buffers, sizes, factors. Rust's `Args` is the same struct.
typedef struct {
    void *p[8];
    int n[16];
    double f[8];
} Args;

#define FLOATS(i) ((float *)a.p[i])
#define FACTOR(i) ((float)a.f[i])
#define THREADS 256

// ---------------------------------------------------------------------------------------------------------------- products
//
// One tile of a matrix product: TM rows by TN columns, TK of the inner dimension at a time; a thread owns 8 rows by 4 columns.
#define TM 128
#define TN 64
#define TK 16
#define PAD 4

typedef struct {
    int n, h, w, i, oh, ow, o, kernel, stride, padding;
} Conv;

INLINE Conv conv_of(const Args *a) {
    Conv c = {a->n[0], a->n[1], a->n[2], a->n[3], a->n[4], a->n[5], a->n[6], a->n[7], a->n[8], a->n[9]};
    return c;
}

INLINE int smaller(int x, int y) { return x < y ? x : y; }

// The inner loop: what a thread adds to its 8 by 4 sums from the tiles in shared memory. Its rows are t / 16 * 8.., its columns t % 16 * 4...
#define MULTIPLY(rows, columns, sums)                                                                                          \
    UNROLL for (int k = 0; k < TK; k++) {                                                                                      \
        float x[8], y[4];                                                                                                      \
        UNROLL for (int r = 0; r < 8; r++) x[r] = rows[k][t / 16 * 8 + r];                                                     \
        UNROLL for (int c = 0; c < 4; c++) y[c] = columns[k][t % 16 * 4 + c];                                                  \
        UNROLL for (int r = 0; r < 8; r++) UNROLL for (int c = 0; c < 4; c++) MINE(sums)[r * 4 + c] += x[r] * y[c];            \
    }

// A tile of a row-major matrix of `width` columns, zeros from row `end` on.
INLINE void load_columns(float columns[TK][TN + PAD], const float *matrix, int t, int k0, int end, int n0, int width) {
    UNROLL for (int j = 0; j < 4; j++) {
        const int k = k0 + t / TN + j * (THREADS / TN), n = n0 + t % TN;
        columns[t / TN + j * (THREADS / TN)][t % TN] = k < end && n < width ? matrix[(Size)k * width + n] : 0.0f;
    }
}

// A thread's sums, to a row-major matrix of `end` rows and `width` columns.
INLINE void store_tile(float *matrix, const float *sums, int t, int m0, int end, int n0, int width) {
    UNROLL for (int j = 0; j < 32; j++) {
        const int m = m0 + t / 16 * 8 + j / 4, n = n0 + t % 16 * 4 + j % 4;
        if (m < end && n < width) matrix[(Size)m * width + n] = sums[j];
    }
}

// y = x * w. Grid: tiles of pixels, tiles of output channels, runs. p: x, w, y. n[10], n[11]: where w starts in a run's weights, and
// the distance of runs there.
KERNEL(conv_forward) {
    SHARED float rows[TK][TM + PAD], columns[TK][TN + PAD];
    PRIVATE(float, sums, 32);
    PRIVATE(int, places, 24);
    const Conv c = conv_of(&a);
    const int m0 = BLOCK_X * TM, n0 = BLOCK_Y * TN, inner = c.kernel * c.kernel * c.i, pixels = c.n * c.oh * c.ow;
    const float *x = FLOATS(0) + (Size)BLOCK_Z * c.n * c.h * c.w * c.i;
    const float *w = FLOATS(1) + a.n[10] + (Size)BLOCK_Z * a.n[11];
    float *y = FLOATS(2) + (Size)BLOCK_Z * pixels * c.o;
    EACH_THREAD {
        UNROLL for (int j = 0; j < 32; j++) MINE(sums)[j] = 0.0f;
        UNROLL for (int j = 0; j < 8; j++) {
            const int m = m0 + t / TK + j * (THREADS / TK);
            MINE(places)[3 * j] = m < pixels ? m / (c.oh * c.ow) : -1;
            MINE(places)[3 * j + 1] = m / c.ow % c.oh * c.stride - c.padding;
            MINE(places)[3 * j + 2] = m % c.ow * c.stride - c.padding;
        }
    }
    for (int k0 = 0; k0 < inner; k0 += TK) {
        EACH_THREAD {
            const int k = k0 + t % TK, tap = k / c.i, i = k % c.i, ky = tap / c.kernel, kx = tap % c.kernel;
            UNROLL for (int j = 0; j < 8; j++) {
                const int picture = MINE(places)[3 * j];
                const int row = MINE(places)[3 * j + 1] + ky, column = MINE(places)[3 * j + 2] + kx;
                const int inside = picture >= 0 && k < inner && row >= 0 && row < c.h && column >= 0 && column < c.w;
                rows[t % TK][t / TK + j * (THREADS / TK)] =
                    inside ? x[(((Size)picture * c.h + row) * c.w + column) * c.i + i] : 0.0f;
            }
            load_columns(columns, w, t, k0, inner, n0, c.o);
        }
        BARRIER;
        EACH_THREAD { MULTIPLY(rows, columns, sums) }
        BARRIER;
    }
    EACH_THREAD {
        store_tile(y, MINE(sums), t, m0, pixels, n0, c.o);
    }
}

// dx from dy: a product for each phase of the input's pixels, as only every stride-th tap of the kernel meets a pixel. Grid: tiles of a
// phase's pixels, tiles of input channels, runs times phases. p: dy, w, dx.
KERNEL(conv_backward_input) {
    SHARED float rows[TK][TM + PAD], columns[TK][TN + PAD];
    PRIVATE(float, sums, 32);
    PRIVATE(int, places, 24);
    const Conv c = conv_of(&a);
    const int phases = c.stride * c.stride, run = BLOCK_Z / phases, phase = BLOCK_Z % phases;
    // Pixel (y, x) of the padded input with y = stride * u + phase_y meets tap ky = phase_y + stride * a of output u - a.
    const int py = phase / c.stride, px = phase % c.stride;
    const int taps_y = (c.kernel - py + c.stride - 1) / c.stride, taps_x = (c.kernel - px + c.stride - 1) / c.stride;
    // First u whose pixel lies inside: stride * u + phase >= padding.
    const int u0 = (c.padding - py + c.stride - 1) / c.stride, v0 = (c.padding - px + c.stride - 1) / c.stride;
    const int us = (c.h + c.padding - py + c.stride - 1) / c.stride - u0;
    const int vs = (c.w + c.padding - px + c.stride - 1) / c.stride - v0;
    const int pixels = c.n * us * vs, inner = taps_y * taps_x * c.o, m0 = BLOCK_X * TM, n0 = BLOCK_Y * TN;
    const float *dy = FLOATS(0) + (Size)run * c.n * c.oh * c.ow * c.o;
    const float *w = FLOATS(1) + a.n[10] + (Size)run * a.n[11];
    float *dx = FLOATS(2) + (Size)run * c.n * c.h * c.w * c.i;
    EACH_THREAD {
        UNROLL for (int j = 0; j < 32; j++) MINE(sums)[j] = 0.0f;
        UNROLL for (int j = 0; j < 8; j++) {
            const int m = m0 + t / TK + j * (THREADS / TK);
            MINE(places)[3 * j] = m < pixels ? m / (us * vs) : -1;
            MINE(places)[3 * j + 1] = m < pixels ? u0 + m / vs % us : 0;
            MINE(places)[3 * j + 2] = m < pixels ? v0 + m % vs : 0;
        }
    }
    for (int k0 = 0; k0 < inner; k0 += TK) {
        EACH_THREAD {
            const int k = k0 + t % TK, tap = k / c.o, o = k % c.o;
            const int ty = taps_x > 0 ? tap / taps_x : 0, tx = taps_x > 0 ? tap % taps_x : 0;
            UNROLL for (int j = 0; j < 8; j++) {
                const int picture = MINE(places)[3 * j];
                const int row = MINE(places)[3 * j + 1] - ty, column = MINE(places)[3 * j + 2] - tx;
                const int inside = picture >= 0 && k < inner && row >= 0 && row < c.oh && column >= 0 && column < c.ow;
                rows[t % TK][t / TK + j * (THREADS / TK)] =
                    inside ? dy[(((Size)picture * c.oh + row) * c.ow + column) * c.o + o] : 0.0f;
            }
            UNROLL for (int j = 0; j < 4; j++) {
                const int kk = k0 + t % TK, i = n0 + t / TK + j * (THREADS / TK);
                const int ky = py + c.stride * ty, kx = px + c.stride * tx;
                columns[t % TK][t / TK + j * (THREADS / TK)] =
                    kk < inner && i < c.i ? w[(((Size)ky * c.kernel + kx) * c.i + i) * c.o + o] : 0.0f;
            }
        }
        BARRIER;
        EACH_THREAD { MULTIPLY(rows, columns, sums) }
        BARRIER;
    }
    EACH_THREAD {
        UNROLL for (int j = 0; j < 32; j++) {
            const int m = m0 + t / 16 * 8 + j / 4, i = n0 + t % 16 * 4 + j % 4;
            if (m < pixels && i < c.i) {
                const int picture = m / (us * vs), row = (u0 + m / vs % us) * c.stride + py - c.padding;
                const int column = (v0 + m % vs) * c.stride + px - c.padding;
                dx[(((Size)picture * c.h + row) * c.w + column) * c.i + i] = MINE(sums)[j];
            }
        }
    }
}

// Partial sums of dw over a share of the pixels. Grid: tiles of kernel rows (ky, kx, i), tiles of output channels, runs times shares.
// p: x, dy, parts [G, shares, K, K, I, O]. n[10]: shares.
KERNEL(conv_backward_weight) {
    SHARED float rows[TK][TM + PAD], columns[TK][TN + PAD];
    PRIVATE(float, sums, 32);
    const Conv c = conv_of(&a);
    const int shares = a.n[10], run = BLOCK_Z / shares, share = BLOCK_Z % shares;
    const int m0 = BLOCK_X * TM, n0 = BLOCK_Y * TN, height = c.kernel * c.kernel * c.i, pixels = c.n * c.oh * c.ow;
    const int step = (pixels + shares - 1) / shares, first = share * step, end = smaller(pixels, first + step);
    const float *x = FLOATS(0) + (Size)run * c.n * c.h * c.w * c.i;
    const float *dy = FLOATS(1) + (Size)run * pixels * c.o;
    float *part = FLOATS(2) + (Size)BLOCK_Z * height * c.o;
    EACH_THREAD {
        UNROLL for (int j = 0; j < 32; j++) MINE(sums)[j] = 0.0f;
    }
    for (int k0 = first; k0 < end; k0 += TK) {
        EACH_THREAD {
            const int m = m0 + t % TM, tap = m / c.i, i = m % c.i, ky = tap / c.kernel, kx = tap % c.kernel;
            UNROLL for (int j = 0; j < 8; j++) {
                const int pixel = k0 + t / TM + j * (THREADS / TM);
                const int row = pixel / c.ow % c.oh * c.stride + ky - c.padding;
                const int column = pixel % c.ow * c.stride + kx - c.padding;
                const int inside = m < height && pixel < end && row >= 0 && row < c.h && column >= 0 && column < c.w;
                rows[t / TM + j * (THREADS / TM)][t % TM] =
                    inside ? x[(((Size)(pixel / (c.oh * c.ow)) * c.h + row) * c.w + column) * c.i + i] : 0.0f;
            }
            load_columns(columns, dy, t, k0, end, n0, c.o);
        }
        BARRIER;
        EACH_THREAD { MULTIPLY(rows, columns, sums) }
        BARRIER;
    }
    EACH_THREAD {
        store_tile(part, MINE(sums), t, m0, height, n0, c.o);
    }
}

// Adds up shares in their order. Grid: blocks of numbers, runs. p: parts [G, shares, len], gradients. n: len, shares, where the
// sums start in a run's gradients, distance of runs there, whether to add to what is there.
KERNEL(add_shares) {
    const int len = a.n[0], shares = a.n[1];
    EACH_THREAD {
        const int at = BLOCK_X * THREADS + t;
        if (at < len) {
            float *to = FLOATS(1) + a.n[2] + (Size)BLOCK_Y * a.n[3] + at;
            float sum = a.n[4] ? *to : 0.0f;
            for (int s = 0; s < shares; s++) sum += FLOATS(0)[((Size)BLOCK_Y * shares + s) * len + at];
            *to = sum;
        }
    }
}

// ------------------------------------------------------------------------------------------------------ batch normalisation
//
// x is [G, rows, C]. A chunk of CHUNK rows is summed by 8 threads a channel, and chunks are merged in order, in double precision.
#define CHUNK 256
#define CHANNELS 32
#define LANES 8
#define EPS 1e-5

// Sums over the lanes of a channel, in order.
INLINE float lanes_sum(float lanes[LANES][CHANNELS], int channel) {
    float sum = 0.0f;
    UNROLL for (int lane = 0; lane < LANES; lane++) sum += lanes[lane][channel];
    return sum;
}

// Mean and sum of squared deviations of each chunk. Grid: blocks of channels, chunks, runs. p: x, chunks [G, chunks, 2, C].
// n: rows, C.
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

// Statistics of the batch from its chunks. Grid: blocks of channels, runs. p: chunks, statistics [G, 2, C] (mean, variance).
// n: rows, C.
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

// Running statistics move towards the batch's, with the unbiased variance, as in torch.nn.BatchNorm2d. Grid: blocks of channels, runs. p:
// statistics [G, 2, C], running, active i32 [G]. n: rows, C, where they start in a run's running statistics (mean, then variance), distance of runs. f: momentum.
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

// What a channel's normalisation comes to: y = scale * x + shift before the activation.
typedef struct {
    float scale, shift;
} Affine;

INLINE Affine affine_of(float mean, float variance, float weight, float bias) {
    const double scale = weight / sqrt((double)variance + EPS);
    Affine f = {(float)scale, (float)(bias - mean * scale)};
    return f;
}

INLINE float rectified(float sign, float value, float slope) { return sign > 0.0f ? value : slope * value; }

// y = f(norm(x)). Grid: blocks of numbers, runs. p: x, statistics, learnt, y. n: rows, C, where weight and bias start in a run's
// parameters, distance of runs there, where the statistics start in a run's, distance of runs there. f: slope.
KERNEL(norm_forward) {
    const int c = a.n[1], len = a.n[0] * c;
    EACH_THREAD {
        const int at = BLOCK_X * THREADS + t, channel = at % c;
        if (at < len) {
            const float *stats = FLOATS(1) + a.n[4] + (Size)BLOCK_Y * a.n[5], *learnt = FLOATS(2) + a.n[2] + (Size)BLOCK_Y * a.n[3];
            const Affine f = affine_of(stats[channel], stats[c + channel], learnt[channel], learnt[c + channel]);
            const float y = f.scale * FLOATS(0)[(Size)BLOCK_Y * len + at] + f.shift;
            FLOATS(3)[(Size)BLOCK_Y * len + at] = rectified(y, y, FACTOR(0));
        }
    }
}

// Per chunk and channel: sums of g and of g * (x - mean), g being the gradient before the activation. Grid: blocks of channels, chunks, runs.
// p: x, dy, statistics, learnt, chunks [G, chunks, 2, C]. n: rows, C, where weight and bias start, distance of runs. f: slope.
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
            const float mean = stats[channel];
            const Affine f = affine_of(mean, stats[c + channel], learnt[channel], learnt[c + channel]);
            for (int r = first + t / CHANNELS; r < end; r += LANES) {
                const float value = x[(Size)r * c + channel];
                const float g = rectified(f.scale * value + f.shift, dy[(Size)r * c + channel], FACTOR(0));
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

// Gradients of weight and bias, and what the input's gradient needs of each channel. Grid: blocks of channels, runs. p: chunks, statistics,
// gradients, terms [G, 2, C] (constant, tilt). n: rows, C, where they start in a run's gradients, distance of runs there,
// whether there are parameters' gradients to write, and whether to add to what is there.
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

// dx = scale * (g - constant - (x - mean) * tilt). Grid: blocks of numbers, runs. p: x, dy, statistics, learnt, terms, dx. n: rows, C,
// where weight and bias start, distance of runs. f: slope.
KERNEL(norm_backward_input) {
    const int c = a.n[1], len = a.n[0] * c;
    EACH_THREAD {
        const int at = BLOCK_X * THREADS + t, channel = at % c;
        if (at < len) {
            const float *stats = FLOATS(2) + (Size)BLOCK_Y * 2 * c, *learnt = FLOATS(3) + a.n[2] + (Size)BLOCK_Y * a.n[3];
            const float *terms = FLOATS(4) + (Size)BLOCK_Y * 2 * c;
            const Affine f = affine_of(stats[channel], stats[c + channel], learnt[channel], learnt[c + channel]);
            const float x = FLOATS(0)[(Size)BLOCK_Y * len + at];
            const float g = rectified(f.scale * x + f.shift, FLOATS(1)[(Size)BLOCK_Y * len + at], FACTOR(0));
            FLOATS(5)[(Size)BLOCK_Y * len + at] = f.scale * (g - terms[channel] - (x - stats[channel]) * terms[c + channel]);
        }
    }
}

// ------------------------------------------------------------------------------------------------------- element by element
//
// Grid: blocks of numbers. n[0]: how many.
#define ELEMENT(at)                                                                                                            \
    const Size at = (Size)BLOCK_X * THREADS + t;                                                                               \
    if (at < (Size)a.n[0])

// p: x, y. f: slope.
KERNEL(rectify) {
    EACH_THREAD { ELEMENT(at) FLOATS(1)[at] = rectified(FLOATS(0)[at], FLOATS(0)[at], FACTOR(0)); }
}

// p: y, dy, dx. f: slope.
KERNEL(rectify_backward) {
    EACH_THREAD { ELEMENT(at) FLOATS(2)[at] = rectified(FLOATS(0)[at], FLOATS(1)[at], FACTOR(0)); }
}

// p: x, y.
KERNEL(tanh_forward) {
    EACH_THREAD { ELEMENT(at) FLOATS(1)[at] = tanhf(FLOATS(0)[at]); }
}

// p: y, dy, dx.
KERNEL(tanh_backward) {
    EACH_THREAD {
        ELEMENT(at) {
            const float y = FLOATS(0)[at];
            FLOATS(2)[at] = FLOATS(1)[at] * (1.0f - y * y);
        }
    }
}

// p: x, y.
KERNEL(sigmoid) {
    EACH_THREAD { ELEMENT(at) FLOATS(1)[at] = 1.0f / (1.0f + expf(-FLOATS(0)[at])); }
}

// p: a, b, sum (which may be a).
KERNEL(add) {
    EACH_THREAD { ELEMENT(at) FLOATS(2)[at] = FLOATS(0)[at] + FLOATS(1)[at]; }
}

// ------------------------------------------------------------------------------------------------------------------- losses
//
// Gradients of means over a run's numbers with respect to the first argument.

// p: a, b, gradient. n[1]: numbers of a run. f: factor; n[2]: whether to add to what is there.
KERNEL(mean_squared_backward) {
    EACH_THREAD {
        ELEMENT(at) {
            const float d = 2.0f * FACTOR(0) / (float)a.n[1] * (FLOATS(0)[at] - FLOATS(1)[at]);
            FLOATS(2)[at] = a.n[2] ? FLOATS(2)[at] + d : d;
        }
    }
}

// Likewise; 0 where both are equal, as in PyTorch.
KERNEL(mean_absolute_backward) {
    EACH_THREAD {
        ELEMENT(at) {
            const float e = FLOATS(0)[at] - FLOATS(1)[at], sign = (float)((e > 0.0f) - (e < 0.0f));
            const float d = FACTOR(0) / (float)a.n[1] * sign;
            FLOATS(2)[at] = a.n[2] ? FLOATS(2)[at] + d : d;
        }
    }
}

// Through the sigmoid, by its output, as PyTorch's BCELoss, whose denominator is at least 1e-12. p: prediction, gradient of the logit. n[1]: numbers
// of a run. f: factor, target.
KERNEL(cross_entropy_backward) {
    EACH_THREAD {
        ELEMENT(at) {
            const float p = FLOATS(0)[at], variance = p * (1.0f - p);
            FLOATS(1)[at] = FACTOR(0) / (float)a.n[1] * (p - FACTOR(1)) * (variance / (variance > 1e-12f ? variance : 1e-12f));
        }
    }
}

// The mean over a run's numbers of (a - b)², |a - b| or the cross-entropy of prediction a and target f[0], whose logarithms are clamped at -100
// as in PyTorch. Grid: runs. p: a, b, losses [G, 8]. n: numbers of a run, kind (0, 1, 2), which loss.
KERNEL(mean_loss) {
    SHARED double sums[THREADS];
    EACH_THREAD {
        double sum = 0.0;
        for (int at = t; at < a.n[0]; at += THREADS) {
            const float x = FLOATS(0)[(Size)BLOCK_X * a.n[0] + at];
            if (a.n[1] == 2) {
                const float low = logf(x), high = logf(1.0f - x);
                sum -= FACTOR(0) > 0.5f ? (low > -100.0f ? low : -100.0f) : (high > -100.0f ? high : -100.0f);
            } else {
                const double d = (double)x - FLOATS(1)[(Size)BLOCK_X * a.n[0] + at];
                sum += a.n[1] == 0 ? d * d : (d < 0.0 ? -d : d);
            }
        }
        sums[t] = sum;
    }
    BARRIER;
    EACH_THREAD {
        if (t == 0) {
            double sum = 0.0;
            for (int i = 0; i < THREADS; i++) sum += sums[i];
            FLOATS(2)[BLOCK_X * 8 + a.n[2]] = (float)(sum / a.n[0]);
        }
    }
}

// Scores of each picture: mean of (a - b)² or |a - b|. Grid: pictures of all runs. p: a, b, scores. n: numbers of a picture, kind (0, 1).
KERNEL(picture_error) {
    SHARED double sums[THREADS];
    EACH_THREAD {
        double sum = 0.0;
        for (int at = t; at < a.n[0]; at += THREADS) {
            const double d = (double)FLOATS(0)[(Size)BLOCK_X * a.n[0] + at] - FLOATS(1)[(Size)BLOCK_X * a.n[0] + at];
            sum += a.n[1] == 0 ? d * d : (d < 0.0 ? -d : d);
        }
        sums[t] = sum;
    }
    BARRIER;
    EACH_THREAD {
        if (t == 0) {
            double sum = 0.0;
            for (int i = 0; i < THREADS; i++) sum += sums[i];
            FLOATS(2)[BLOCK_X] = (float)(sum / a.n[0]);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------- the rest

// Counts each active run's step of Adam, and from it the two factors of the step. Grid: blocks of runs. p: clocks [G, 4]: steps (i32), step size,
// scale of the second moment; active i32 [G]. n: runs. f: lr, beta1, beta2.
KERNEL(adam_clock) {
    EACH_THREAD {
        ELEMENT(run) if (((const int *)a.p[1])[run]) {
            float *clock = FLOATS(0) + run * 4;
            const int steps = ++((int *)clock)[0];
            clock[1] = (float)(a.f[0] / (1.0 - pow(a.f[1], steps)));
            clock[2] = (float)sqrt(1.0 - pow(a.f[2], steps));
        }
    }
}

// torch.optim.Adam over all parameters of the active runs. Grid: blocks of a run's parameters, runs. p: parameters, first moments, second moments,
// gradients, clocks, active. n: parameters of a run. f: beta1, beta2, eps.
KERNEL(adam) {
    const float beta1 = FACTOR(0), beta2 = FACTOR(1), rest1 = (float)(1.0 - a.f[0]), rest2 = (float)(1.0 - a.f[1]);
    const float *clock = FLOATS(4) + BLOCK_Y * 4;
    const int active = ((const int *)a.p[5])[BLOCK_Y];
    EACH_THREAD {
        const int of_run = BLOCK_X * THREADS + t;
        if (active && of_run < a.n[0]) {
            const Size at = (Size)BLOCK_Y * a.n[0] + of_run;
            const float g = FLOATS(3)[at];
            const float m = beta1 * FLOATS(1)[at] + rest1 * g, v = beta2 * FLOATS(2)[at] + rest2 * g * g;
            FLOATS(1)[at] = m;
            FLOATS(2)[at] = v;
            FLOATS(0)[at] -= clock[1] * m / (sqrtf(v) / clock[2] + FACTOR(2));
        }
    }
}

// A run whose discriminator's loss has vanished starts it anew from the weights kept for that. Grid: blocks of a run's parameters, runs. p:
// parameters, fresh, losses [G, 8], how often it happened [G], active. n: parameters of a run, which loss. f: threshold.
KERNEL(start_anew) {
    const int vanished = ((const int *)a.p[4])[BLOCK_Y] && FLOATS(2)[BLOCK_Y * 8 + a.n[1]] < FACTOR(0);
    EACH_THREAD {
        const int at = BLOCK_X * THREADS + t;
        if (vanished && at < a.n[0]) FLOATS(0)[(Size)BLOCK_Y * a.n[0] + at] = FLOATS(1)[(Size)BLOCK_Y * a.n[0] + at];
        if (vanished && at == 0) ((int *)a.p[3])[BLOCK_Y] += 1;
    }
}

// err_d, half the sum of the discriminator's two losses. p: losses [G, 8]. n: runs.
KERNEL(discriminator_loss) {
    EACH_THREAD {
        for (int run = t; run < a.n[0]; run += THREADS) {
            float *of = FLOATS(0) + run * 8;
            of[5] = 0.5f * (of[3] + of[4]);
        }
    }
}

// Moves each run on behind a batch; a run without a whole batch left is not active, and learns nothing. p: positions i32 [G], lengths i32 [G],
// active i32 [G]. n: runs, pictures of the batch.
KERNEL(advance) {
    EACH_THREAD {
        ELEMENT(run) {
            int *position = (int *)a.p[0] + run;
            *position += a.n[1];
            ((int *)a.p[2])[run] = *position <= ((const int *)a.p[1])[run];
        }
    }
}

// Adds up each active run's losses over the steps of an epoch. p: losses [G, 8], sums [G, 8], active. n: numbers.
KERNEL(sum_losses) {
    EACH_THREAD {
        ELEMENT(at) if (((const int *)a.p[2])[at / 8]) FLOATS(1)[at] += FLOATS(0)[at];
    }
}

// A batch of each run from the data set's bytes. Grid: blocks of a batch's numbers, runs. p: pictures u8 [P, S, S, C], order i32 [G, P'], batch,
// positions i32 [G] (pictures taken so far), table [C, 256] (what each byte of a channel stands for). n: numbers of a picture, pictures of a
// batch, P', C.
KERNEL(gather) {
    const int picture = a.n[0], pictures = a.n[1];
    EACH_THREAD {
        const int at = BLOCK_X * THREADS + t;
        if (at < picture * pictures) {
            const int position = ((const int *)a.p[3])[BLOCK_Y] + at / picture;
            // Behind its end a run's batch is any picture: nobody looks at it.
            const int from = position < a.n[2] ? ((const int *)a.p[1])[(Size)BLOCK_Y * a.n[2] + position] : 0;
            const int byte = ((const unsigned char *)a.p[0])[(Size)from * picture + at % picture];
            FLOATS(2)[(Size)BLOCK_Y * picture * pictures + at] = FLOATS(4)[at % picture % a.n[3] * 256 + byte];
        }
    }
}
