// ------------------------------------------------------------------------------------------- tiles
//
// One tile of a matrix product: TM rows by TN columns, TK of the inner dimension at a time. In
// shared memory, a tile of either operand is stored along its inner dimension (ALONG_K), or along
// its rows (ROWS_ALONG_M) or columns (COLS_ALONG_N), in the order in which its values arrive. The
// paddings avoid bank conflicts between threads that read together.
#define TM 128
#define TN 64
#define TK 16
#define ROWS_ALONG_K(m, k) ((m) * (TK + 4) + (k))
#define ROWS_ALONG_M(m, k) ((k) * (TM + 8) + (m))
#define COLS_ALONG_K(n, k) ((n) * (TK + 4) + (k))
#define COLS_ALONG_N(n, k) ((k) * (TN + 8) + (n))
#define ROWS_SIZE (TM * (TK + 4))
#define COLS_SIZE (TN * (TK + 4))

// A thread's 32 sums, and their positions in the tile.
#define SUMS 32

#if PRECISION == 0

// 8 rows by 4 columns per thread, with ordinary multiply-adds.
#define ROW_OF_ROWS_ALONG_K(t, r) ((t) / 16 + 16 * (r))
#define ROW_OF_ROWS_ALONG_M(t, r) ((t) / 16 * 8 + (r))
#define COL_OF_COLS_ALONG_K(t, c) ((t) % 16 + 16 * (c))
#define COL_OF_COLS_ALONG_N(t, c) ((t) % 16 * 4 + (c))
#define ROW_OF(ROWS, t, j) ROW_OF_##ROWS(t, (j) / 4)
#define COL_OF(COLS, t, j) COL_OF_##COLS(t, (j) % 4)
// Sums that are adjacent in a row.
#define BESIDE_COLS_ALONG_K 1
#define BESIDE_COLS_ALONG_N 4
#define BESIDE(COLS) BESIDE_##COLS

#define OPERANDS
#define ROUNDED(x) (x)

#define MULTIPLY(ROWS, COLS, rows, columns)                                                                                    \
    EACH_THREAD {                                                                                                              \
        UNROLL for (int k = 0; k < TK; k++) {                                                                                  \
            float x[8], y[4];                                                                                                  \
            UNROLL for (int r = 0; r < 8; r++) x[r] = (rows)[ROWS(ROW_OF_##ROWS(t, r), k)];                                    \
            UNROLL for (int c = 0; c < 4; c++) y[c] = (columns)[COLS(COL_OF_##COLS(t, c), k)];                                 \
            UNROLL for (int r = 0; r < 8; r++) UNROLL for (int c = 0; c < 4; c++) MINE(sums)[r * 4 + c] += x[r] * y[c];        \
        }                                                                                                                      \
    }

#else

// Tensor cores: a warp owns 32 rows by 32 columns as 2 by 4 products of 16 by 8 (PTX ISA,
// mma.m16n8k8 and mma.m16n8k16). In each, a thread holds rows lane / 4 and lane / 4 + 8, columns
// lane % 4 * 2 and the next.
#define WARP_ROW(t) ((t) / 64 * 32)
#define WARP_COL(t) ((t) / 32 % 2 * 32)
#define ROW_OF(ROWS, t, j) (WARP_ROW(t) + (j) / 16 * 16 + (j) % 4 / 2 * 8 + (t) % 32 / 4)
#define COL_OF(COLS, t, j) (WARP_COL(t) + (j) / 4 % 4 * 8 + (t) % 4 * 2 + (j) % 2)
#define BESIDE(COLS) 2

// A thread's part of the operands of one step along the inner dimension: 2 left operands of 4
// registers each, and 4 right operands of 2 each.
#define OPERANDS                                                                                                               \
    PRIVATE(unsigned, left, 8);                                                                                                \
    PRIVATE(unsigned, right, 8);

INLINE unsigned bits_of(float x) {
    unsigned bits;
#ifdef __CUDACC__
    bits = __float_as_uint(x);
#else
    memcpy(&bits, &x, 4);
#endif
    return bits;
}

INLINE float float_of(unsigned bits) {
    float x;
#ifdef __CUDACC__
    x = __uint_as_float(bits);
#else
    memcpy(&x, &bits, 4);
#endif
    return x;
}

#if PRECISION == 1

#define DEPTH 8

// Rounds to 10 fraction bits, ties away from zero (cvt.rna.tf32.f32), before the value goes to
// shared memory.
INLINE float ROUNDED(float x) {
#ifdef __CUDACC__
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return float_of(bits);
#else
    return isfinite(x) ? float_of((bits_of(x) + 0x1000u) & ~0x1fffu) : x;
#endif
}

// Register r of a product's left operand holds row lane / 4 + r % 2 * 8, inner lane % 4 + r / 2 *
// 4; of its right operand inner lane % 4 + r * 4, column lane / 4.
#define LEFT(ROWS, rows, t, i, r, k)                                                                                           \
    bits_of((rows)[ROWS(WARP_ROW(t) + (i) * 16 + (t) % 32 / 4 + (r) % 2 * 8, (k) + (t) % 4 + (r) / 2 * 4)])
#define RIGHT(COLS, columns, t, i, r, k) bits_of((columns)[COLS(WARP_COL(t) + (i) * 8 + (t) % 32 / 4, (k) + (t) % 4 + (r) * 4)])

#else

#define DEPTH 16
#define ROUNDED(x) (x)

// Rounds two values to bf16, ties to even; the first in the lower half (cvt.rn.bf16x2.f32).
INLINE unsigned pair_of(float low, float high) {
#ifdef __CUDACC__
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    const unsigned l = bits_of(low), h = bits_of(high);
    return ((l + 0x7fffu + (l >> 16 & 1u)) >> 16) | ((h + 0x7fffu + (h >> 16 & 1u)) & 0xffff0000u);
#endif
}

// As with tf32, but a register holds inner lane % 4 * 2 and the next, and the inner indices of the
// other registers are 8 further.
#define LEFT_AT(ROWS, rows, t, i, r, k, e)                                                                                     \
    (rows)[ROWS(WARP_ROW(t) + (i) * 16 + (t) % 32 / 4 + (r) % 2 * 8, (k) + (t) % 4 * 2 + (e) + (r) / 2 * 8)]
#define RIGHT_AT(COLS, columns, t, i, r, k, e)                                                                                 \
    (columns)[COLS(WARP_COL(t) + (i) * 8 + (t) % 32 / 4, (k) + (t) % 4 * 2 + (e) + (r) * 8)]
#define LEFT(ROWS, rows, t, i, r, k) pair_of(LEFT_AT(ROWS, rows, t, i, r, k, 0), LEFT_AT(ROWS, rows, t, i, r, k, 1))
#define RIGHT(COLS, columns, t, i, r, k) pair_of(RIGHT_AT(COLS, columns, t, i, r, k, 0), RIGHT_AT(COLS, columns, t, i, r, k, 1))

#endif

#ifdef __CUDACC__

INLINE void tensor_product(float *sums, const unsigned *left, const unsigned *right) {
#if PRECISION == 1
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
#endif
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
}

#define TENSOR_PRODUCTS                                                                                                        \
    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int j = 0; j < 4; j++)                                                      \
        tensor_product(MINE(sums) + i * 16 + j * 4, MINE(left) + i * 4, MINE(right) + j * 2);

#else

// Value `e` of a register, as the tensor core reads it.
INLINE float number_of(unsigned bits, int e) {
#if PRECISION == 1
    return e == 0 ? float_of(bits) : 0.0f;
#else
    return float_of(e == 0 ? bits << 16 : bits & 0xffff0000u);
#endif
}

// One product of a warp: the matrices are assembled from the registers of its 32 threads, by the
// tables of the PTX ISA.
INLINE void tensor_product(float (*sums)[SUMS], unsigned (*left)[8], unsigned (*right)[8], int i, int j) {
    float x[16][DEPTH], y[DEPTH][8];
    const int pack = DEPTH / 8;
    for (int lane = 0; lane < 32; lane++)
        for (int e = 0; e < pack; e++) {
            for (int r = 0; r < 4; r++)
                x[lane / 4 + r % 2 * 8][lane % 4 * pack + e + r / 2 * 4 * pack] = number_of(left[lane][i * 4 + r], e);
            for (int r = 0; r < 2; r++) y[lane % 4 * pack + e + r * 4 * pack][lane / 4] = number_of(right[lane][j * 2 + r], e);
        }
    for (int lane = 0; lane < 32; lane++)
        for (int c = 0; c < 4; c++)
            for (int k = 0; k < DEPTH; k++)
                sums[lane][i * 16 + j * 4 + c] += x[lane / 4 + c / 2 * 8][k] * y[k][lane % 4 * 2 + c % 2];
}

#define TENSOR_PRODUCTS                                                                                                        \
    for (int warp = 0; warp < THREADS; warp += 32)                                                                             \
        for (int i = 0; i < 2; i++)                                                                                            \
            for (int j = 0; j < 4; j++) tensor_product(sums + warp, left + warp, right + warp, i, j);

#endif

#define MULTIPLY(ROWS, COLS, rows, columns)                                                                                    \
    UNROLL for (int k = 0; k < TK; k += DEPTH) {                                                                               \
        EACH_THREAD {                                                                                                          \
            UNROLL for (int i = 0; i < 2; i++) UNROLL for (int r = 0; r < 4; r++)                                              \
                MINE(left)[i * 4 + r] = LEFT(ROWS, rows, t, i, r, k);                                                          \
            UNROLL for (int i = 0; i < 4; i++) UNROLL for (int r = 0; r < 2; r++)                                              \
                MINE(right)[i * 2 + r] = RIGHT(COLS, columns, t, i, r, k);                                                     \
        }                                                                                                                      \
        TENSOR_PRODUCTS                                                                                                        \
    }

#endif

// Writes four values to shared memory, rounded.
INLINE void put4(float *to, const float *from) {
    ALIGNED float rounded[4];
    UNROLL for (int e = 0; e < 4; e++) rounded[e] = ROUNDED(from[e]);
    copy4(to, rounded);
}

// Reads values `from` .. `from` + 4 of a row of `width` values, zeros beyond its end; in one access
// if rows are `aligned` to four values.
INLINE void fetch4(float *to, const float *row, int from, int width, int aligned) {
    if (aligned && from < width) {
        copy4(to, row + from);
    } else {
        UNROLL for (int e = 0; e < 4; e++) to[e] = from + e < width ? row[from + e] : 0.0f;
    }
}

INLINE void zero4(float *to) {
    UNROLL for (int e = 0; e < 4; e++) to[e] = 0.0f;
}

// Writes a thread's sums to a row-major matrix of `end` rows and `width` columns, with the tile's
// corner at (m0, n0).
#define STORE_TILE(ROWS, COLS, matrix, m0, end, n0, width)                                                                     \
    UNROLL for (int j = 0; j < SUMS; j += BESIDE(COLS)) {                                                                      \
        const int m = (m0) + ROW_OF(ROWS, t, j), n = (n0) + COL_OF(COLS, t, j);                                                \
        if (m < (end)) store_sums((matrix) + (Size)m * (width), MINE(sums) + j, n, width, BESIDE(COLS));                       \
    }

// Writes `count` sums (1, 2 or 4) to a row of `width` values.
INLINE void store_sums(float *row, const float *sums, int n, int width, int count) {
    if (count == 4 && width % 4 == 0) {
        if (n < width) copy4(row + n, sums);
    } else if (count == 2 && width % 2 == 0) {
        if (n < width) copy2(row + n, sums);
    } else {
        UNROLL for (int e = 0; e < count; e++)
            if (n + e < width) row[n + e] = sums[e];
    }
}

// The product of a block from `first` to `end` of the inner dimension: FETCH(k0) loads a thread's
// values into `staged`, PUT(rows, columns) writes them to shared memory. The next tiles are loaded
// while the current ones are multiplied; shared memory holds two of each, so that one barrier per
// tile is enough.
#define PRODUCT(ROWS, COLS, FETCH, PUT, first, end)                                                                            \
    SHARED float rows[2][ROWS_SIZE], columns[2][COLS_SIZE];                                                                    \
    EACH_THREAD {                                                                                                              \
        UNROLL for (int j = 0; j < SUMS; j++) MINE(sums)[j] = 0.0f;                                                            \
        if ((first) < (end)) { FETCH(first) }                                                                                  \
    }                                                                                                                          \
    for (int k0 = (first), which = 0; k0 < (end); k0 += TK, which ^= 1) {                                                      \
        EACH_THREAD { PUT(rows[which], columns[which]) }                                                                       \
        BARRIER;                                                                                                               \
        EACH_THREAD {                                                                                                          \
            if (k0 + TK < (end)) { FETCH(k0 + TK) }                                                                            \
        }                                                                                                                      \
        MULTIPLY(ROWS, COLS, rows[which], columns[which])                                                                      \
    }
