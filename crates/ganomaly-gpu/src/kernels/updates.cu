// ----------------------------------------------------------------------------------------- updates

// Counts each active run's Adam step, and computes the step's two factors from the count. Grid:
// blocks of runs. p: clocks [G, 4]: steps (i32), step size, scale of the second moment; active i32
// [G]. n: runs. f: lr, beta1, beta2.
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

// torch.optim.Adam over all parameters of the active runs. Grid: blocks of a run's parameters,
// runs. p: parameters, first moments, second moments, gradients, clocks, active. n: parameters of a
// run. f: beta1, beta2, eps.
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

// Re-initialises the discriminator of each run whose discriminator loss has vanished, from the
// weights kept for this. Grid: blocks of a run's parameters, runs. p: parameters, fresh, losses
// [G, 8], counts of re-initialisations [G], active. n: parameters of a run, index of the loss.
// f: threshold.
KERNEL(reinitialise) {
    const int vanished = ((const int *)a.p[4])[BLOCK_Y] && FLOATS(2)[BLOCK_Y * 8 + a.n[1]] < FACTOR(0);
    EACH_THREAD {
        const int at = BLOCK_X * THREADS + t;
        if (vanished && at < a.n[0]) FLOATS(0)[(Size)BLOCK_Y * a.n[0] + at] = FLOATS(1)[(Size)BLOCK_Y * a.n[0] + at];
        if (vanished && at == 0) ((int *)a.p[3])[BLOCK_Y] += 1;
    }
}

// Advances each run's position by a batch; a run without a whole batch left is not active, and
// learns nothing. p: positions i32 [G], lengths i32 [G], active i32 [G]. n: runs, images of the
// batch.
KERNEL(advance) {
    EACH_THREAD {
        ELEMENT(run) {
            int *position = (int *)a.p[0] + run;
            *position += a.n[1];
            ((int *)a.p[2])[run] = *position <= ((const int *)a.p[1])[run];
        }
    }
}

// A batch for each run from the data set's bytes. Grid: blocks of a batch's elements, runs.
// p: images u8 [P, S, S, C], order i32 [G, P'], batch, positions i32 [G] (images taken so far),
// table [C, 256] (the value for each byte of a channel). n: elements of an image, images of a
// batch, P', C.
KERNEL(gather) {
    const int image = a.n[0], images = a.n[1];
    EACH_THREAD {
        const int at = BLOCK_X * THREADS + t;
        if (at < image * images) {
            const int position = ((const int *)a.p[3])[BLOCK_Y] + at / image;
            // After a run's end, its batch holds an arbitrary image, which is not used.
            const int from = position < a.n[2] ? ((const int *)a.p[1])[(Size)BLOCK_Y * a.n[2] + position] : 0;
            const int byte = ((const unsigned char *)a.p[0])[(Size)from * image + at % image];
            FLOATS(2)[(Size)BLOCK_Y * image * images + at] = FLOATS(4)[at % image % a.n[3] * 256 + byte];
        }
    }
}
