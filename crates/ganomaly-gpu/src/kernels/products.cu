// ---------------------------------------------------------------------------------------- products
//
// A convolution and its two gradients as matrix products whose left operand is gathered on the fly.
// n[12]: number of shares of the inner dimension, one block each, so that small products have
// enough blocks; add_shares adds them up. n[13], n[14]: whether rows of the left and right operand
// start at multiples of four elements.

typedef struct {
    int n, h, w, i, oh, ow, o, kernel, stride, padding;
} Conv;

INLINE Conv conv_of(const Args *a) {
    Conv c = {a->n[0], a->n[1], a->n[2], a->n[3], a->n[4], a->n[5], a->n[6], a->n[7], a->n[8], a->n[9]};
    return c;
}

// The size of a share of `inner` elements: whole tiles.
INLINE int share_of(int inner, int shares) { return ((inner + TK - 1) / TK + shares - 1) / shares * TK; }

// An element's place: index in a row of `wide`, row among `across`, and index of the group of rows.
INLINE void place_of(int *at, int number, int wide, int across) {
    at[0] = number % wide;
    at[1] = number / wide % across;
    at[2] = number / wide / across;
}

// The place one tile further, without divisions, which would cost too much here.
INLINE void advance_place(int *at, int wide, int across) {
    at[0] += TK;
    while (at[0] >= wide) {
        at[0] -= wide;
        if (++at[1] == across) {
            at[1] = 0;
            at[2]++;
        }
    }
}

// Four values of a pixel, starting at `channel`; zeros if the pixel is outside the image.
INLINE void fetch_pixel(float *to, const float *x, int image, int row, int column, int h, int w, int channels, int channel) {
    if (image >= 0 && row >= 0 && row < h && column >= 0 && column < w)
        copy4(to, x + (((Size)image * h + row) * w + column) * channels + channel);
    else
        zero4(to);
}

// One value of a pixel; zero if the pixel is outside the image.
INLINE float pixel_or_zero(const float *x, int image, int row, int column, int h, int w, int channels, int channel) {
    const int inside = image >= 0 && row >= 0 && row < h && column >= 0 && column < w;
    return inside ? x[(((Size)image * h + row) * w + column) * channels + channel] : 0.0f;
}

// y = x * w. Grid: tiles of pixels, tiles of output channels, runs times shares. p: x, w, y
// [G, shares, N, OH, OW, O]. n[10], n[11]: where w starts in a run's weights, and the distance
// between runs there.
KERNEL(conv_forward) {
    PRIVATE(float, sums, SUMS);
    PRIVATE(float, staged, 12);
    PRIVATE(int, pixel, 6); // image, row, column of this thread's two pixels, at the first tap
    PRIVATE(int, at, 3);    // channel, column and row of the kernel for its next values
    OPERANDS
    const Conv c = conv_of(&a);
    const int shares = a.n[12], run = BLOCK_Z / shares, m0 = BLOCK_X * TM, n0 = BLOCK_Y * TN;
    const int inner = c.kernel * c.kernel * c.i, pixels = c.n * c.oh * c.ow;
    const int share = share_of(inner, shares), first = BLOCK_Z % shares * share, end = smaller(inner, first + share);
    const float *x = FLOATS(0) + (Size)run * c.n * c.h * c.w * c.i;
    const float *w = FLOATS(1) + a.n[10] + (Size)run * a.n[11];
    float *y = FLOATS(2) + (Size)BLOCK_Z * pixels * c.o;
    EACH_THREAD {
        UNROLL for (int j = 0; j < 2; j++) {
            const int m = m0 + t / 4 + 64 * j;
            MINE(pixel)[3 * j] = m < pixels ? m / (c.oh * c.ow) : -1;
            MINE(pixel)[3 * j + 1] = m / c.ow % c.oh * c.stride - c.padding;
            MINE(pixel)[3 * j + 2] = m % c.ow * c.stride - c.padding;
        }
        place_of(MINE(at), first + t % 4 * 4, c.i, c.kernel);
    }
#define FETCH(k0)                                                                                                              \
    UNROLL for (int j = 0; j < 2; j++) {                                                                                       \
        const int *p = MINE(pixel) + 3 * j;                                                                                    \
        if (a.n[13]) {                                                                                                         \
            const int image = MINE(at)[2] < c.kernel ? p[0] : -1;                                                            \
            fetch_pixel(MINE(staged) + 4 * j, x, image, p[1] + MINE(at)[2], p[2] + MINE(at)[1], c.h, c.w, c.i, MINE(at)[0]); \
        } else {                                                                                                               \
            UNROLL for (int e = 0; e < 4; e++) {                                                                               \
                const int k = (k0) + t % 4 * 4 + e, tap = k / c.i;                                                             \
                MINE(staged)[4 * j + e] = pixel_or_zero(x, k < inner ? p[0] : -1, p[1] + tap / c.kernel,                       \
                                                        p[2] + tap % c.kernel, c.h, c.w, c.i, k % c.i);                        \
            }                                                                                                                  \
        }                                                                                                                      \
    }                                                                                                                          \
    if ((k0) + t / 16 < inner)                                                                                                 \
        fetch4(MINE(staged) + 8, w + (Size)((k0) + t / 16) * c.o, n0 + t % 16 * 4, c.o, a.n[14]);                              \
    else                                                                                                                       \
        zero4(MINE(staged) + 8);                                                                                               \
    if (a.n[13]) advance_place(MINE(at), c.i, c.kernel);
#define PUT(rows, columns)                                                                                                     \
    UNROLL for (int j = 0; j < 2; j++) put4(rows + ROWS_ALONG_K(t / 4 + 64 * j, t % 4 * 4), MINE(staged) + 4 * j);          \
    put4(columns + COLS_ALONG_N(t % 16 * 4, t / 16), MINE(staged) + 8);
    PRODUCT(ROWS_ALONG_K, COLS_ALONG_N, FETCH, PUT, first, end)
#undef FETCH
#undef PUT
    EACH_THREAD { STORE_TILE(ROWS_ALONG_K, COLS_ALONG_N, y, m0, pixels, n0, c.o) }
}

// dx from dy: one product per phase of the input's pixels, because only every stride-th tap of the
// kernel meets a pixel. Grid: tiles of a phase's pixels, tiles of input channels, runs times shares
// times phases. p: dy, w, dx [G, shares, N, H, W, I].
KERNEL(conv_backward_input) {
    PRIVATE(float, sums, SUMS);
    PRIVATE(float, staged, 12);
    PRIVATE(int, pixel, 6);
    PRIVATE(int, at, 3); // output channel, tap column and tap row
    OPERANDS
    const Conv c = conv_of(&a);
    const int shares = a.n[12], phases = c.stride * c.stride, phase = BLOCK_Z % phases, part = BLOCK_Z / phases, run = part / shares;
    // Pixel (y, x) of the padded input with y = stride * u + phase_y meets tap ky = phase_y +
    // stride * a of output u - a.
    const int py = phase / c.stride, px = phase % c.stride;
    const int taps_y = (c.kernel - py + c.stride - 1) / c.stride, taps_x = (c.kernel - px + c.stride - 1) / c.stride;
    // First u whose pixel is inside: stride * u + phase >= padding.
    const int u0 = (c.padding - py + c.stride - 1) / c.stride, v0 = (c.padding - px + c.stride - 1) / c.stride;
    const int us = (c.h + c.padding - py + c.stride - 1) / c.stride - u0;
    const int vs = (c.w + c.padding - px + c.stride - 1) / c.stride - v0;
    const int pixels = c.n * us * vs, inner = taps_y * taps_x * c.o, m0 = BLOCK_X * TM, n0 = BLOCK_Y * TN;
    const int share = share_of(inner, shares), first = part % shares * share, end = smaller(inner, first + share);
    const float *dy = FLOATS(0) + (Size)run * c.n * c.oh * c.ow * c.o;
    const float *w = FLOATS(1) + a.n[10] + (Size)run * a.n[11];
    float *dx = FLOATS(2) + (Size)part * c.n * c.h * c.w * c.i;
    EACH_THREAD {
        UNROLL for (int j = 0; j < 2; j++) {
            const int m = m0 + t / 4 + 64 * j;
            MINE(pixel)[3 * j] = m < pixels ? m / (us * vs) : -1;
            MINE(pixel)[3 * j + 1] = m < pixels ? u0 + m / vs % us : 0;
            MINE(pixel)[3 * j + 2] = m < pixels ? v0 + m % vs : 0;
        }
        if (inner > 0) place_of(MINE(at), first + t % 4 * 4, c.o, taps_x);
    }
#define FETCH(k0)                                                                                                              \
    UNROLL for (int j = 0; j < 2; j++) {                                                                                       \
        const int *p = MINE(pixel) + 3 * j;                                                                                    \
        if (a.n[13]) {                                                                                                         \
            const int image = MINE(at)[2] < taps_y ? p[0] : -1;                                                              \
            fetch_pixel(MINE(staged) + 4 * j, dy, image, p[1] - MINE(at)[2], p[2] - MINE(at)[1], c.oh, c.ow, c.o, MINE(at)[0]); \
        } else {                                                                                                               \
            UNROLL for (int e = 0; e < 4; e++) {                                                                               \
                const int k = (k0) + t % 4 * 4 + e, tap = k / c.o;                                                             \
                MINE(staged)[4 * j + e] = pixel_or_zero(dy, k < inner ? p[0] : -1, p[1] - tap / taps_x, p[2] - tap % taps_x,   \
                                                        c.oh, c.ow, c.o, k % c.o);                                             \
            }                                                                                                                  \
        }                                                                                                                      \
    }                                                                                                                          \
    const int i_ = n0 + t / 4;                                                                                                 \
    if (a.n[13] && a.n[14]) {                                                                                                  \
        const int ky = py + c.stride * MINE(at)[2], kx = px + c.stride * MINE(at)[1];                                          \
        if (i_ < c.i && MINE(at)[2] < taps_y)                                                                                  \
            copy4(MINE(staged) + 8, w + (((Size)ky * c.kernel + kx) * c.i + i_) * c.o + MINE(at)[0]);                          \
        else                                                                                                                   \
            zero4(MINE(staged) + 8);                                                                                           \
    } else {                                                                                                                   \
        UNROLL for (int e = 0; e < 4; e++) {                                                                                   \
            const int k = (k0) + t % 4 * 4 + e, tap = k / c.o;                                                                 \
            const int ky = py + c.stride * (tap / taps_x), kx = px + c.stride * (tap % taps_x);                                \
            MINE(staged)[8 + e] = k < inner && i_ < c.i ? w[(((Size)ky * c.kernel + kx) * c.i + i_) * c.o + k % c.o] : 0.0f;   \
        }                                                                                                                      \
    }                                                                                                                          \
    if (a.n[13]) advance_place(MINE(at), c.o, taps_x);
#define PUT(rows, columns)                                                                                                     \
    UNROLL for (int j = 0; j < 2; j++) put4(rows + ROWS_ALONG_K(t / 4 + 64 * j, t % 4 * 4), MINE(staged) + 4 * j);          \
    put4(columns + COLS_ALONG_K(t / 4, t % 4 * 4), MINE(staged) + 8);
    PRODUCT(ROWS_ALONG_K, COLS_ALONG_K, FETCH, PUT, first, end)
#undef FETCH
#undef PUT
    EACH_THREAD {
        UNROLL for (int j = 0; j < SUMS; j += BESIDE(COLS_ALONG_K)) {
            const int m = m0 + ROW_OF(ROWS_ALONG_K, t, j), n = n0 + COL_OF(COLS_ALONG_K, t, j);
            if (m < pixels) {
                const int image = m / (us * vs), row = (u0 + m / vs % us) * c.stride + py - c.padding;
                const int column = (v0 + m % vs) * c.stride + px - c.padding;
                float *to = dx + (((Size)image * c.h + row) * c.w + column) * c.i;
                store_sums(to, MINE(sums) + j, n, c.i, BESIDE(COLS_ALONG_K));
            }
        }
    }
}

// Partial sums of dw over a share of the pixels. Grid: tiles of kernel rows (ky, kx, i), tiles of
// output channels, runs times shares. p: x, dy, parts [G, shares, K, K, I, O].
KERNEL(conv_backward_weight) {
    PRIVATE(float, sums, SUMS);
    PRIVATE(float, staged, 12);
    PRIVATE(int, at, 6);  // column, row and image of this thread's two output pixels
    PRIVATE(int, tap, 3); // channel, column and row of the kernel for its values
    OPERANDS
    const Conv c = conv_of(&a);
    const int shares = a.n[12], run = BLOCK_Z / shares, m0 = BLOCK_X * TM, n0 = BLOCK_Y * TN;
    const int height = c.kernel * c.kernel * c.i, pixels = c.n * c.oh * c.ow;
    const int share = share_of(pixels, shares), first = BLOCK_Z % shares * share, end = smaller(pixels, first + share);
    const float *x = FLOATS(0) + (Size)run * c.n * c.h * c.w * c.i;
    const float *dy = FLOATS(1) + (Size)run * pixels * c.o;
    float *parts = FLOATS(2) + (Size)BLOCK_Z * height * c.o;
    EACH_THREAD {
        UNROLL for (int j = 0; j < 2; j++) place_of(MINE(at) + 3 * j, first + t / 32 + 8 * j, c.ow, c.oh);
        place_of(MINE(tap), m0 + t % 32 * 4, c.i, c.kernel);
    }
#define FETCH(k0)                                                                                                              \
    UNROLL for (int j = 0; j < 2; j++) {                                                                                       \
        int *p = MINE(at) + 3 * j;                                                                                             \
        const int image = (k0) + t / 32 + 8 * j < end ? p[2] : -1;                                                           \
        const int row = p[1] * c.stride - c.padding, column = p[0] * c.stride - c.padding;                                     \
        if (a.n[13]) {                                                                                                         \
            fetch_pixel(MINE(staged) + 4 * j, x, MINE(tap)[2] < c.kernel ? image : -1, row + MINE(tap)[2],                   \
                        column + MINE(tap)[1], c.h, c.w, c.i, MINE(tap)[0]);                                                   \
        } else {                                                                                                               \
            UNROLL for (int e = 0; e < 4; e++) {                                                                               \
                const int m = m0 + t % 32 * 4 + e, of = m / c.i;                                                               \
                MINE(staged)[4 * j + e] = pixel_or_zero(x, m < height ? image : -1, row + of / c.kernel,                     \
                                                        column + of % c.kernel, c.h, c.w, c.i, m % c.i);                       \
            }                                                                                                                  \
        }                                                                                                                      \
        advance_place(p, c.ow, c.oh);                                                                                          \
    }                                                                                                                          \
    if ((k0) + t / 16 < end)                                                                                                   \
        fetch4(MINE(staged) + 8, dy + (Size)((k0) + t / 16) * c.o, n0 + t % 16 * 4, c.o, a.n[14]);                             \
    else                                                                                                                       \
        zero4(MINE(staged) + 8);
#define PUT(rows, columns)                                                                                                     \
    UNROLL for (int j = 0; j < 2; j++) put4(rows + ROWS_ALONG_M(t % 32 * 4, t / 32 + 8 * j), MINE(staged) + 4 * j);         \
    put4(columns + COLS_ALONG_N(t % 16 * 4, t / 16), MINE(staged) + 8);
    PRODUCT(ROWS_ALONG_M, COLS_ALONG_N, FETCH, PUT, first, end)
#undef FETCH
#undef PUT
    EACH_THREAD { STORE_TILE(ROWS_ALONG_M, COLS_ALONG_N, parts, m0, height, n0, c.o) }
}

// Adds up shares in order. Grid: blocks of elements, runs. p: parts [G, shares, len], sums. n: len,
// shares, where the sums start in a run's part of their buffer, distance between runs there,
// whether to add to what is there.
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
