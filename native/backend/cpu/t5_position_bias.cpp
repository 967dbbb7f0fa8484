// Relative position bias of the T5 encoder.
#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {
namespace {

// Row of the table for a key that lies `distance` tokens after the query (negative: before). Half of the rows are for
// keys after the query; half of each half are exact, the rest logarithmic up to max_distance. Computed in f32 and
// truncated, as transformers' T5Attention does.
int64_t bucket(int64_t distance, int64_t buckets, int64_t max_distance) {
    int64_t half = buckets / 2, exact = half / 2;
    int64_t first = distance > 0 ? half : 0;
    distance = std::abs(distance);
    if (distance < exact) return first + distance;
    float log_ratio = std::log(float(distance) / float(exact)) / float(std::log(double(max_distance) / double(exact)));
    return first + std::min(half - 1, exact + int64_t(log_ratio * float(half - exact)));
}

}  // namespace

// (table[buckets,H]) {length, max_distance} -> [H,length,length] f32
void op_t5_position_bias(const KernelArgs& k) {
    const Tensor& table = k.in[0];
    int64_t buckets = table.dim(0), heads = table.dim(1), length = int64_t(k.attr("length"));
    int64_t max_distance = int64_t(k.attr("max_distance"));
    with_types(
        [&](const auto* rows, auto* y) {
            k.pool.run(heads, [&](int64_t h, int) {
                for (int64_t distance = 1 - length; distance < length; distance++) {
                    float value = to_float(rows[bucket(distance, buckets, max_distance) * heads + h]);
                    int64_t query = std::max<int64_t>(0, -distance), last = std::min(length, length - distance);
                    for (; query < last; query++)
                        store_scalar(y + (h * length + query) * length + query + distance, value);
                }
            });
        },
        table, k.out[0]);
}

}  // namespace stepd::STEPD_ISA
