// Prints GFLOP/s of the linear kernels for the shapes of the demo and of PixArt, per instruction set that this machine
// has: the best of several short runs, because other work on the machine only ever makes a run slower. With one thread
// the time is processor time, which does not count while other programs run.
// Usage: stepd_gemm_bench [isa [dtype]]    STEPD_THREADS sets the number of threads.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "tests/kernel_harness.h"

namespace stepd::test {
namespace {

struct BenchShape {
    int64_t tokens, out, in;
};
const BenchShape kShapes[] = {{1024, 384, 384},   {1024, 1536, 384},  {1024, 384, 1536}, {1024, 1152, 1152},
                              {1024, 4608, 1152}, {1024, 1152, 4608}, {4, 1152, 1152},   {4, 6912, 1152}};

// Uniform in (-1, 1): cheap to make, and not zero, which would run faster than real data.
HostTensor uniform_tensor(Shape shape, DType dtype) {
    HostTensor t(std::move(shape), dtype);
    uint32_t state = 1;
    for (size_t i = 0; i < t.size(); i++) t.set(i, double(state = state * 1664525 + 1013904223) / 2147483648.0 - 1);
    return t;
}

double now(const Pool& pool) {
    timespec t;
    clock_gettime(pool.threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

double best_seconds(Kernel kernel, const std::vector<Tensor>& in, const std::vector<Tensor>& out, Pool& pool) {
    Attrs attrs;
    double best = 1e9, begin = now(pool);
    do {
        double start = now(pool);
        kernel(KernelArgs{in, out, attrs, pool});
        best = std::min(best, now(pool) - start);
    } while (now(pool) - begin < 0.25);
    return best;
}

void bench(const std::string& isa, DType dtype, Pool& pool) {
    std::printf("%s %s, %d threads: GFLOP/s (GB/s of weights)\n%22s %18s %18s %18s\n", isa.c_str(), name_of(dtype),
                pool.threads(), "tokens x out x in", "forward", "dx", "dw");
    for (auto [tokens, out, in] : kShapes) {
        HostTensor x = uniform_tensor({tokens, in}, dtype), w = uniform_tensor({out, in}, dtype);
        HostTensor y = uniform_tensor({tokens, out}, dtype), dw({out, in}, DType::f32);
        double flop = 2.0 * double(tokens) * double(out) * double(in);
        std::printf("%8ld %6ld %6ld", long(tokens), long(out), long(in));
        auto report = [&](const char* op, std::vector<Tensor> inputs, const HostTensor& result) {
            double seconds = best_seconds(find_kernel(isa, op), inputs, {result.view()}, pool);
            std::printf("   %8.1f (%5.1f)", flop / seconds * 1e-9, double(w.view().bytes()) / seconds * 1e-9);
        };
        report("linear", {x.view(), w.view()}, y);
        report("linear_dx", {y.view(), w.view()}, x);
        report("linear_dw", {y.view(), x.view()}, dw);
        std::printf("\n");
        std::fflush(stdout);
    }
}

}  // namespace
}  // namespace stepd::test

int main(int argc, char** argv) {
    using namespace stepd;
    Pool pool;
    for (const std::string& isa : cpu_isas()) {
        if (argc > 1 && isa != argv[1]) continue;
        for (DType dtype : {DType::f32, DType::bf16})
            if (argc < 3 || std::strcmp(argv[2], name_of(dtype)) == 0) test::bench(isa, dtype, pool);
    }
}
