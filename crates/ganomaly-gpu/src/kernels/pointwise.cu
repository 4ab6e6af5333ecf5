// ------------------------------------------------------------------------------ element by element
//
// Grid: blocks of elements. n[0]: number of elements.
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

// ------------------------------------------------------------------------------------------ losses
//
// Means over a run's elements and, in the same pass, their gradients with respect to the first
// argument. A run is divided into PARTS parts, one block each, whose sums losses_merge adds up in
// order. Grid: parts, runs. n: elements of a run, index of the loss. f: loss weight.
#define PARTS 64
#define LOSSES 5
#define STRIDE 8

// A block's part of a run: [first, end).
#define PART                                                                                                                   \
    const int len = a.n[0], of_part = (len + PARTS - 1) / PARTS;                                                                \
    const int first = BLOCK_X * of_part, end = smaller(len, first + of_part);                                                   \
    const Size start = (Size)BLOCK_Y * len;

// Adds up the threads' sums in order.
#define SUM_UP(sums, to)                                                                                                       \
    BARRIER;                                                                                                                   \
    EACH_THREAD {                                                                                                              \
        if (t < 32) {                                                                                                          \
            UNROLL for (int i = 1; i < THREADS / 32; i++) sums[t] += sums[t + i * 32];                                         \
        }                                                                                                                      \
    }                                                                                                                          \
    BARRIER;                                                                                                                   \
    EACH_THREAD {                                                                                                              \
        if (t == 0) {                                                                                                          \
            UNROLL for (int i = 1; i < 32; i++) sums[0] += sums[i];                                                            \
            to = sums[0];                                                                                                      \
        }                                                                                                                      \
    }

#define LOSS_PART(which) ((double *)a.p[3])[((Size)BLOCK_Y * LOSSES + (which)) * PARTS + BLOCK_X]

// (a - b)². p: a, b, gradient, parts f64 [G, 5, PARTS].
KERNEL(squared_loss) {
    SHARED double sums[THREADS];
    PART
    const float factor = 2.0f * FACTOR(0) / (float)len;
    EACH_THREAD {
        double sum = 0.0;
        for (int at = first + t; at < end; at += THREADS) {
            const float d = FLOATS(0)[start + at] - FLOATS(1)[start + at];
            FLOATS(2)[start + at] = factor * d;
            sum += (double)d * d;
        }
        sums[t] = sum;
    }
    SUM_UP(sums, LOSS_PART(a.n[1]))
}

// |a - b|, whose gradient is 0 where both are equal, as in PyTorch, and is added to two other
// gradients. p: a, b, gradient (initially the first other gradient), parts, the second other
// gradient.
KERNEL(absolute_loss) {
    SHARED double sums[THREADS];
    PART
    const float factor = FACTOR(0) / (float)len;
    EACH_THREAD {
        double sum = 0.0;
        for (int at = first + t; at < end; at += THREADS) {
            const float d = FLOATS(0)[start + at] - FLOATS(1)[start + at], sign = (float)((d > 0.0f) - (d < 0.0f));
            FLOATS(2)[start + at] += FLOATS(4)[start + at] + factor * sign;
            sum += d < 0.0f ? -d : d;
        }
        sums[t] = sum;
    }
    SUM_UP(sums, LOSS_PART(a.n[1]))
}

// Binary cross-entropy of sigmoid(logit) and a target, as PyTorch's BCELoss after Sigmoid:
// logarithms are clamped at -100, and the gradient goes through the sigmoid's output with a
// denominator of at least 1e-12. p: logit, -, the logit's gradient, parts. f: weight, target.
KERNEL(cross_entropy_loss) {
    SHARED double sums[THREADS];
    PART
    EACH_THREAD {
        double sum = 0.0;
        for (int at = first + t; at < end; at += THREADS) {
            const float p = 1.0f / (1.0f + expf(-FLOATS(0)[start + at])), variance = p * (1.0f - p);
            const float logarithm = FACTOR(1) > 0.5f ? logf(p) : logf(1.0f - p);
            sum -= logarithm > -100.0f ? logarithm : -100.0f;
            FLOATS(2)[start + at] = FACTOR(0) / (float)len * (p - FACTOR(1)) * (variance / (variance > 1e-12f ? variance : 1e-12f));
        }
        sums[t] = sum;
    }
    SUM_UP(sums, LOSS_PART(a.n[1]))
}

// Adds 2 w / len (a - b) to what is there. p: a, b, gradient. n: elements of all runs, of one run.
// f: w.
KERNEL(add_squared_gradient) {
    EACH_THREAD {
        ELEMENT(at) FLOATS(2)[at] += 2.0f * FACTOR(0) / (float)a.n[1] * (FLOATS(0)[at] - FLOATS(1)[at]);
    }
}

// A run's losses from their parts, followed by err_d, half the sum of the discriminator's two
// losses. Those of active runs are added to the sums of the epoch. Grid: runs. p: parts, losses
// [G, 8], sums [G, 8], active i32 [G]. n: number of elements in the mean of each loss.
KERNEL(losses_merge) {
    SHARED float losses[STRIDE];
    EACH_THREAD {
        if (t < STRIDE) losses[t] = 0.0f;
        if (t < LOSSES) {
            double sum = 0.0;
            for (int part = 0; part < PARTS; part++) sum += ((const double *)a.p[0])[((Size)BLOCK_X * LOSSES + t) * PARTS + part];
            losses[t] = (float)(sum / a.n[t]);
        }
    }
    BARRIER;
    EACH_THREAD {
        if (t < STRIDE) {
            const float loss = t == LOSSES ? 0.5f * (losses[3] + losses[4]) : losses[t];
            FLOATS(1)[BLOCK_X * STRIDE + t] = loss;
            if (((const int *)a.p[3])[BLOCK_X]) FLOATS(2)[BLOCK_X * STRIDE + t] += loss;
        }
    }
}

// Score of each image: mean of (a - b)² or |a - b|, written to its place in the run's order. Grid:
// images of a batch, runs. p: a, b, scores [G, P'], positions i32 [G] after the batch. n: elements
// of an image, kind (0: squared, 1: absolute), images of the batch, P'.
KERNEL(image_error) {
    SHARED double sums[THREADS];
    const Size start = ((Size)BLOCK_Y * a.n[2] + BLOCK_X) * a.n[0];
    const int place = ((const int *)a.p[3])[BLOCK_Y] - a.n[2] + BLOCK_X;
    EACH_THREAD {
        double sum = 0.0;
        for (int at = t; at < a.n[0]; at += THREADS) {
            const double d = (double)FLOATS(0)[start + at] - FLOATS(1)[start + at];
            sum += a.n[1] == 0 ? d * d : (d < 0.0 ? -d : d);
        }
        sums[t] = sum;
    }
    double sum = 0.0;
    SUM_UP(sums, sum)
    EACH_THREAD {
        if (t == 0 && place >= 0 && place < a.n[3]) FLOATS(2)[(Size)BLOCK_Y * a.n[3] + place] = (float)(sum / a.n[0]);
    }
}
