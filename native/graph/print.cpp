// The graph as text and as Graphviz source.
#include "graph/graph.h"
#include "ops/op.h"

namespace stepd {

namespace {

std::string reference(const Graph& g, ValueId v) {
    if (v == kNone) return "-";
    const Value& value = g.value(v);
    return value.name.empty() ? detail::concat("%", v) : value.name;
}

std::string type_of(const Value& v) { return name_of(v.dtype) + to_string(v.shape); }

std::string list(const Graph& g, const std::vector<ValueId>& values, bool with_type) {
    std::string text;
    for (ValueId v : values) {
        if (!text.empty()) text += ", ";
        text += reference(g, v);
        if (with_type && v != kNone) text += detail::concat(" ", type_of(g.value(v)));
    }
    return text;
}

std::string attributes(const Node& node) {
    std::string text;
    for (const auto& [key, number] : node.attrs) {
        text += detail::concat(text.empty() ? " {" : ", ", key, " = ", number);
    }
    return text.empty() ? text : text + "}";
}

const char* color_of(const Value& v) {
    switch (v.role) {
        case Role::parameter:
            return v.trainable ? "gold" : "lightgray";
        case Role::input:
            return "lightblue";
        case Role::output:
            return "palegreen";
        case Role::temporary:
            return "white";
    }
    return "white";
}

std::string escaped(const std::string& text) {
    std::string out;
    for (char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

}  // namespace

std::string print(const Graph& g) {
    std::string text;
    for (const Value& v : g.values) {
        if (v.role == Role::parameter) {
            text += detail::concat(v.trainable ? "trained " : "frozen ", v.name, " ", type_of(v), "\n");
        } else if (v.role == Role::input) {
            text += detail::concat("input ", v.name, " ", type_of(v), "\n");
        }
    }
    for (const Node& node : g.nodes) {
        text += detail::concat(node.backward ? "< " : "> ", list(g, node.outputs, true), " = ", node.op->name, "(",
                               list(g, node.inputs, false), ")", attributes(node), "\n");
    }
    return text;
}

std::string graphviz(const Graph& g) {
    std::string text = "digraph stepd {\n  node [shape=box, style=filled, fillcolor=white, fontname=monospace];\n";
    for (size_t i = 0; i < g.values.size(); ++i) {
        const Value& v = g.values[i];
        if (v.role == Role::temporary) continue;
        text += detail::concat("  v", i, " [shape=ellipse, fillcolor=", color_of(v), ", label=\"", escaped(v.name),
                               "\\n", type_of(v), "\"];\n");
        if (v.producer >= 0) text += detail::concat("  n", v.producer, " -> v", i, ";\n");
    }
    for (size_t i = 0; i < g.nodes.size(); ++i) {
        const Node& node = g.nodes[i];
        text += detail::concat("  n", i, " [label=\"", node.op->name, attributes(node), "\"",
                               node.backward ? ", fillcolor=mistyrose" : "", "];\n");
        for (ValueId v : node.inputs) {
            if (v == kNone) continue;
            const Value& value = g.value(v);
            bool named = value.role != Role::temporary;
            text += detail::concat("  ", named ? "v" : "n", named ? v : value.producer, " -> n", i, " [label=\"",
                                   type_of(value), "\"];\n");
        }
    }
    return text + "}\n";
}

}  // namespace stepd
