// Every kernel of a training step and of scoring, for G runs at once.
//
// The same source runs on the card and on the host: between two barriers a block is a loop over its threads, which the card takes side by
// side and the host one after another. What a thread keeps over a barrier is PRIVATE. So the tests run these very lines, index
// for index, on a machine without a card.
//
// Activations are [G, N, H, W, C], weights [G][K, K, I, O] with a distance between runs of their own. Sums have a fixed order. PRECISION says how the
// products' operands are rounded: 0 not at all, 1 to tf32, 2 to bf16; they are added up in float32 always. EPS is batch normalisation's.

#ifdef __CUDACC__
#define KERNEL(name) extern "C" __global__ void __launch_bounds__(256, 2) name(const Args a)
#define BLOCK_X ((int)blockIdx.x)
#define BLOCK_Y ((int)blockIdx.y)
#define BLOCK_Z ((int)blockIdx.z)
#define ALIGNED __align__(16)
#define SHARED __shared__ ALIGNED
#define BARRIER __syncthreads()
#define EACH_THREAD for (int t = (int)threadIdx.x, once = 1; once; once = 0)
#define PRIVATE(type, name, n) ALIGNED type name[1][n]
#define MINE(name) name[0]
#define INLINE static __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#else
#include <math.h>
#include <string.h>
#define KERNEL(name) void name(const Args a, int block_x, int block_y, int block_z)
#define BLOCK_X block_x
#define BLOCK_Y block_y
#define BLOCK_Z block_z
#define ALIGNED
#define SHARED
#define BARRIER
#define EACH_THREAD for (int t = 0; t < 256; t++)
#define PRIVATE(type, name, n) type name[256][n]
#define MINE(name) name[t]
#define INLINE static inline
#define UNROLL
#endif

typedef unsigned long long Size;

// What a launch is given: buffers, sizes, factors. Rust's `Args` is the same struct.
typedef struct {
    void *p[8];
    int n[16];
    double f[8];
} Args;

#define FLOATS(i) ((float *)a.p[i])
#define FACTOR(i) ((float)a.f[i])
#define THREADS 256

INLINE int smaller(int x, int y) { return x < y ? x : y; }

// Four numbers at once; both addresses are multiples of 16 bytes on the card.
INLINE void copy4(float *to, const float *from) {
#ifdef __CUDACC__
    *(float4 *)to = *(const float4 *)from;
#else
    memcpy(to, from, 16);
#endif
}

// Two numbers at once, likewise multiples of 8 bytes.
INLINE void copy2(float *to, const float *from) {
#ifdef __CUDACC__
    *(float2 *)to = *(const float2 *)from;
#else
    memcpy(to, from, 8);
#endif
}
