#include "models/folder.h"

#include <fstream>
#include <set>
#include <sstream>

#include "base/error.h"
#include "io/safetensors.h"

namespace stepd {

namespace {

// Python writes Infinity, -Infinity and NaN, which JSON does not have; null says as little.
std::string without_infinities(const std::string& text) {
    std::string out;
    bool quoted = false;
    for (size_t i = 0; i < text.size(); ++i) {
        if (quoted && text[i] == '\\') {
            out += text[i++];
            if (i < text.size()) out += text[i];
            continue;
        }
        if (text[i] == '"') quoted = !quoted;
        if (!quoted) {
            bool replaced = false;
            for (const char* word : {"-Infinity", "Infinity", "NaN"}) {
                if (text.compare(i, std::char_traits<char>::length(word), word) != 0) continue;
                out += "null";
                i += std::char_traits<char>::length(word) - 1;
                replaced = true;
                break;
            }
            if (replaced) continue;
        }
        out += text[i];
    }
    return out;
}

// Old files store the projections of an attention block as 1x1 convolutions.
bool same_up_to_trailing_ones(Shape a, Shape b) {
    auto strip = [](Shape& s) {
        while (s.size() > 1 && s.back() == 1) s.pop_back();
    };
    strip(a);
    strip(b);
    return a == b;
}

const SafeTensor* find_parameter(const SafetensorsReader& reader, const ParameterSpec& parameter) {
    if (const SafeTensor* tensor = reader.find(parameter.name)) return tensor;
    for (const std::string& alias : parameter.aliases) {
        if (const SafeTensor* tensor = reader.find(alias)) return tensor;
    }
    return nullptr;
}

}  // namespace

nlohmann::json read_json(const std::filesystem::path& file) {
    STEPD_REQUIRE(std::filesystem::is_regular_file(file), Code::not_found, "there is no file ", file.string());
    std::ifstream in(file, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    STEPD_REQUIRE(in && text, Code::io, "cannot read ", file.string());
    try {
        return nlohmann::json::parse(without_infinities(text.str()));
    } catch (const nlohmann::json::exception& e) {
        STEPD_THROW(Code::invalid, file.string(), " is not valid JSON: ", e.what());
    }
}

Folder::Folder(std::filesystem::path root) : root_(std::move(root)) {
    STEPD_REQUIRE(std::filesystem::is_directory(root_), Code::not_found, "there is no model folder ", root_.string());
    index_ = read_json(root_ / "model_index.json");
    STEPD_REQUIRE(index_.is_object(), Code::invalid, (root_ / "model_index.json").string(), " is not a JSON object");
}

// Entries are ["library", "Class"]; components that a pipeline does without are [null, null].
std::string Folder::class_of(const std::string& component) const {
    auto it = index_.find(component);
    if (it == index_.end() || !it->is_array() || it->size() != 2 || !(*it)[1].is_string()) return "";
    return (*it)[1].get<std::string>();
}

nlohmann::json Folder::config(const std::string& component) const {
    return read_json(root_ / component / (component == "scheduler" ? "scheduler_config.json" : "config.json"));
}

std::string Folder::path_of(const std::string& component) const {
    std::filesystem::path path = root_ / component;
    STEPD_REQUIRE(std::filesystem::is_directory(path), Code::not_found, "there is no folder ", path.string());
    return path.string();
}

void load_weights(const SafetensorsReader& reader, const Component& model, const Destination& destination) {
    std::set<std::string> known;
    for (const ParameterSpec& parameter : model.parameters()) {
        known.insert(parameter.name);
        known.insert(parameter.aliases.begin(), parameter.aliases.end());
        const SafeTensor* tensor = find_parameter(reader, parameter);
        if (!tensor) reader.at(parameter.name);  // throws, naming file and tensor
        STEPD_REQUIRE(same_up_to_trailing_ones(tensor->shape, parameter.shape), Code::invalid, *tensor->file,
                      ": tensor ", tensor->name, " has shape ", to_string(tensor->shape),
                      ", the configuration asks for ", to_string(parameter.shape));
        Tensor out = destination(parameter);
        if (out) convert(*tensor, 0, tensor->elements(), out.data, out.dtype);
    }
    for (const SafeTensor& tensor : reader.tensors()) {
        STEPD_REQUIRE(known.count(tensor.name) || model.ignores(tensor.name), Code::unsupported, *tensor.file,
                      ": tensor ", tensor.name, " is not part of the model that the configuration describes");
    }
}

}  // namespace stepd
