#include "models/recorded.h"

namespace stepd {

std::vector<ParameterSpec> recorded_parameters(const std::function<void(Builder&)>& record) {
    Graph graph;
    Builder builder(graph, DType::f32);
    record(builder);
    std::vector<ParameterSpec> out;
    for (const Value& v : graph.values) {
        if (v.role == Role::parameter) out.push_back({v.name, v.shape, {}});
    }
    return out;
}

std::vector<LinearModule> recorded_linear_modules(const std::vector<ParameterSpec>& parameters) {
    constexpr std::string_view suffix = ".weight";
    std::vector<LinearModule> out;
    for (const ParameterSpec& p : parameters) {
        if (p.shape.size() != 2 || !p.name.ends_with(suffix)) continue;
        out.push_back({p.name.substr(0, p.name.size() - suffix.size()), p.shape[1], p.shape[0]});
    }
    return out;
}

}  // namespace stepd
