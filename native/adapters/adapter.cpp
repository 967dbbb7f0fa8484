#include "adapters/adapter.h"

#include "base/error.h"

namespace stepd {

#define STEPD_ADAPTER(name) std::unique_ptr<Adapter> make_##name(const AdapterOptions& options);
#include "adapters/adapters.inc"
#undef STEPD_ADAPTER

std::unique_ptr<Adapter> make_adapter(const AdapterOptions& options) {
    std::string known;
#define STEPD_ADAPTER(name)                                 \
    if (options.type == #name) return make_##name(options); \
    known += std::string(known.empty() ? "" : ", ") + #name;
#include "adapters/adapters.inc"
#undef STEPD_ADAPTER
    STEPD_THROW(Code::unsupported, "adapter.type = \"", options.type, "\" is unknown; there is: ", known);
}

}  // namespace stepd
