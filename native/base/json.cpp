#include "base/json.h"

#include <cmath>
#include <limits>

#include "base/error.h"

namespace stepd {
namespace {

constexpr int kMaxDepth = 32;

[[noreturn]] void wrong_type(const std::string& member, const char* wanted, const nlohmann::json& value) {
    STEPD_THROW(Code::invalid, member, ": expected ", wanted, ", got ", value.type_name());
}

template <class Int>
Int integer(const nlohmann::json& value, const std::string& member) {
    if (!value.is_number()) wrong_type(member, "an integer", value);
    if (value.is_number_unsigned()) {
        const auto v = value.get<uint64_t>();
        STEPD_REQUIRE(v <= uint64_t(std::numeric_limits<Int>::max()), Code::invalid, member, " = ", v, " is too large");
        return Int(v);
    }
    STEPD_REQUIRE(value.is_number_integer(), Code::invalid, member, " = ", value.dump(), " is not an integer");
    const auto v = value.get<int64_t>();
    STEPD_REQUIRE(std::is_signed_v<Int> && v >= int64_t(std::numeric_limits<Int>::min()), Code::invalid, member, " = ",
                  v, " is too small");
    return Int(v);
}

double number(const nlohmann::json& value, const std::string& member) {
    if (!value.is_number()) wrong_type(member, "a number", value);
    const double v = value.get<double>();
    STEPD_REQUIRE(std::isfinite(v), Code::invalid, member, " is not finite");
    return v;
}

std::string text(const nlohmann::json& value, const std::string& member) {
    if (!value.is_string()) wrong_type(member, "a string", value);
    auto s = value.get<std::string>();
    STEPD_REQUIRE(s.find('\0') == std::string::npos, Code::invalid, member, " contains a zero byte");
    return s;
}

}  // namespace

nlohmann::json parse_json(const std::string& text, const std::string& what) {
    std::vector<std::set<std::string>> open;  // keys of the objects that enclose the present position
    auto check = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
        STEPD_REQUIRE(depth <= kMaxDepth, Code::invalid, what, ": nested deeper than ", kMaxDepth);
        if (event == nlohmann::json::parse_event_t::object_start) open.emplace_back();
        if (event == nlohmann::json::parse_event_t::object_end) open.pop_back();
        if (event == nlohmann::json::parse_event_t::key)
            STEPD_REQUIRE(open.back().insert(parsed.get<std::string>()).second, Code::invalid, what, ": key ",
                          parsed.dump(), " appears twice");
        return true;
    };
    try {
        return nlohmann::json::parse(text, check);
    } catch (const nlohmann::json::exception& e) {
        STEPD_THROW(Code::invalid, what, " is not valid JSON: ", e.what());
    }
}

JsonObject::JsonObject(const nlohmann::json& value, std::string path) : value_(value), path_(std::move(path)) {
    if (!value.is_object()) wrong_type(path_.empty() ? "request" : path_, "an object", value);
}

bool JsonObject::has(const std::string& key) {
    seen_.insert(key);
    auto it = value_.find(key);
    return it != value_.end() && !it->is_null();
}

const nlohmann::json& JsonObject::require_array(const std::string& key) const {
    const nlohmann::json& value = at(key);
    if (!value.is_array()) wrong_type(member(key), "an array", value);
    return value;
}

template <class Int>
void JsonObject::read_integer(const std::string& key, Int& out) {
    if (has(key)) out = integer<Int>(at(key), member(key));
}

template <class Int>
void JsonObject::read_integers(const std::string& key, std::vector<Int>& out) {
    if (!has(key)) return;
    out.clear();
    for (const auto& element : require_array(key)) out.push_back(integer<Int>(element, member(key)));
}

void JsonObject::read(const std::string& key, int& out) { read_integer(key, out); }
void JsonObject::read(const std::string& key, int64_t& out) { read_integer(key, out); }
void JsonObject::read(const std::string& key, uint64_t& out) { read_integer(key, out); }
void JsonObject::read(const std::string& key, std::vector<int32_t>& out) { read_integers(key, out); }
void JsonObject::read(const std::string& key, std::vector<int64_t>& out) { read_integers(key, out); }

void JsonObject::read(const std::string& key, std::string& out) {
    if (has(key)) out = text(at(key), member(key));
}

void JsonObject::read(const std::string& key, bool& out) {
    if (!has(key)) return;
    if (!at(key).is_boolean()) wrong_type(member(key), "true or false", at(key));
    out = at(key).get<bool>();
}

void JsonObject::read(const std::string& key, double& out) {
    if (has(key)) out = number(at(key), member(key));
}

void JsonObject::read(const std::string& key, std::vector<std::string>& out) {
    if (!has(key)) return;
    out.clear();
    for (const auto& element : require_array(key)) out.push_back(text(element, member(key)));
}

void JsonObject::read(const std::string& key, std::map<std::string, double>& out) {
    if (!has(key)) return;
    if (!at(key).is_object()) wrong_type(member(key), "an object", at(key));
    for (const auto& [name, value] : at(key).items()) out[name] = number(value, member(key) + "." + name);
}

void JsonObject::read(const std::string& key, std::map<std::string, std::string>& out) {
    if (!has(key)) return;
    if (!at(key).is_object()) wrong_type(member(key), "an object", at(key));
    for (const auto& [name, value] : at(key).items()) out[name] = text(value, member(key) + "." + name);
}

JsonObject JsonObject::object(const std::string& key) {
    STEPD_REQUIRE(has(key), Code::invalid, member(key), " is missing");
    return JsonObject(at(key), member(key));
}

void JsonObject::finish() const {
    for (const auto& [key, value] : value_.items())
        STEPD_REQUIRE(seen_.contains(key), Code::invalid, member(key), ": unknown field");
}

void JsonObject::require(const std::string& key, const std::string& value) const {
    STEPD_REQUIRE(!value.empty(), Code::invalid, member(key), " is missing");
}

}  // namespace stepd
