// Training speed on random data: the cases, shapes and numbers of bench/peer's PyTorch scripts.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace stepd {

struct BenchRequest {
    std::vector<std::string> cases;  // empty: all
    int64_t steps = 0;               // timed; 0: 7
    int64_t warmup = 0;              // 0: 2
    bool profile = false;            // adds "profile": the slowest kinds of node
};

// An array with one object per case. Throws Code::invalid naming an unknown case.
nlohmann::json run_bench(const BenchRequest& request);

}  // namespace stepd
