// Every kernel of a training step and of scoring, for G runs at once.
//
// The same source runs on the GPU and on the host: between two barriers, a block is a loop over its
// threads, which the GPU runs in parallel and the host one after another. What a thread keeps
// across a barrier is PRIVATE. So the tests run exactly this code on a machine without a GPU.
//
// Activations are [G, N, H, W, C], weights [G][K, K, I, O] with their own distance between runs.
// Sums have a fixed order. PRECISION says how the products' operands are rounded: 0 not at all, 1
// to tf32, 2 to bf16; sums are always in float32. EPS is batch normalisation's.

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

// The arguments of a launch: buffers, sizes, factors. Rust's `Args` is the same struct.
typedef struct {
    void *p[8];
    int n[16];
    double f[8];
} Args;

#define FLOATS(i) ((float *)a.p[i])
#define FACTOR(i) ((float)a.f[i])
#define THREADS 256

INLINE int smaller(int x, int y) { return x < y ? x : y; }

// Copies four values at once; on the GPU both addresses are multiples of 16 bytes.
INLINE void copy4(float *to, const float *from) {
#ifdef __CUDACC__
    *(float4 *)to = *(const float4 *)from;
#else
    memcpy(to, from, 16);
#endif
}

// Copies two values at once; on the GPU both addresses are multiples of 8 bytes.
INLINE void copy2(float *to, const float *from) {
#ifdef __CUDACC__
    *(float2 *)to = *(const float2 *)from;
#else
    memcpy(to, from, 8);
#endif
}
