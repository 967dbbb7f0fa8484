// Time and FLOP rate of the attention kernels on the shapes that the models use.
//   stepd_attention_bench [threads]      STEPD_ISA chooses the instruction set
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "backend/cpu.h"

namespace {

using namespace stepd;

struct Case {
    const char* name;
    int64_t B, S, N, H, d;
};
const Case kCases[] = {
    {"pixart-demo self", 16, 64, 64, 6, 64},     {"pixart-demo cross", 16, 64, 32, 6, 64},
    {"pixart-900m self", 1, 1024, 1024, 16, 72}, {"pixart-900m cross", 1, 1024, 300, 16, 72},
    {"flux-block self", 1, 1536, 1536, 24, 128}, {"autoencoder", 1, 1024, 1024, 1, 512},
};

// A tensor of normally distributed values that owns its memory.
struct Buffer {
    std::vector<float> memory;
    Tensor tensor;

    Buffer(Shape shape, DType dtype) : memory(size_t(numel(shape))) {
        tensor = Tensor{memory.data(), dtype, std::move(shape)};
        std::mt19937 generator(1);
        std::normal_distribution<float> normal;
        for (int64_t i = 0; i < tensor.numel(); i++) {
            float x = normal(generator);
            if (dtype == DType::bf16)
                tensor.bf16()[i] = to_bf16(x);
            else
                memory[size_t(i)] = x;
        }
    }
};

// Seconds of the fastest of several calls.
double fastest(const Backend& backend, const char* op, const std::vector<Tensor>& in, const std::vector<Tensor>& out,
               const Attrs& attrs, Pool& pool) {
    Kernel kernel = backend.find(op);
    double best = INFINITY, total = 0;
    for (int i = 0; i < 40 && (i < 3 || total < 0.5); i++) {
        auto start = std::chrono::steady_clock::now();
        kernel(KernelArgs{in, out, attrs, pool});
        double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        best = std::min(best, seconds);
        total += seconds;
    }
    return best;
}

void measure(Backend& backend, const Case& c, DType dtype) {
    Shape queries{c.B, c.S, c.H * c.d}, keys{c.B, c.N, c.H * c.d};
    Buffer q(queries, dtype), k(keys, dtype), v(keys, dtype), o(queries, dtype), dout(queries, dtype);
    Buffer dq(queries, dtype), dk(keys, dtype), dv(keys, dtype), lse({c.B, c.H, c.S}, DType::f32);
    Attrs attrs{{"heads", double(c.H)}, {"scale", 1 / std::sqrt(double(c.d))}};
    double flop = 4.0 * double(c.B * c.H * c.S * c.N * c.d);  // of the two products of the forward pass
    double forward = fastest(backend, "attention", {q.tensor, k.tensor, v.tensor, {}, {}}, {o.tensor, lse.tensor},
                             attrs, *backend.pool());
    double backward =
        fastest(backend, "attention_bwd", {q.tensor, k.tensor, v.tensor, {}, o.tensor, lse.tensor, dout.tensor},
                {dq.tensor, dk.tensor, dv.tensor}, attrs, *backend.pool());
    std::printf("%-20s %-4s forward %8.3f ms %6.1f GFLOP/s   backward %8.3f ms %6.1f GFLOP/s\n", c.name, name_of(dtype),
                forward * 1e3, flop / forward * 1e-9, backward * 1e3, 2.5 * flop / backward * 1e-9);
}

}  // namespace

int main(int argc, char** argv) {
    auto backend = stepd::make_cpu_backend(argc > 1 ? std::atoi(argv[1]) : 0);
    std::printf("%s, %d threads\n", stepd::cpu_isa(), backend->pool()->threads());
    for (const Case& c : kCases)
        for (stepd::DType dtype : {stepd::DType::f32, stepd::DType::bf16}) measure(*backend, c, dtype);
}
