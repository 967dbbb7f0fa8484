#include "graph/rewrite.h"

namespace stepd {

#define STEPD_REWRITE(name) int name(Graph& g);
#include "graph/rewrite/rewrites.inc"
#undef STEPD_REWRITE

namespace {
constexpr Rewrite table[] = {
#define STEPD_REWRITE(name) {#name, name},
#include "graph/rewrite/rewrites.inc"
#undef STEPD_REWRITE
};
}  // namespace

std::span<const Rewrite> all_rewrites() { return table; }

int rewrite(Graph& g) {
    int fired = 0;
    for (const Rewrite& pass : table) fired += pass.run(g);
    return fired;
}

}  // namespace stepd
