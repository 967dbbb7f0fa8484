// Strict reading of JSON requests: every key must be known, every value of the right type and in range, and messages
// name the field by its path ("config.optimizer.lr").
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace stepd {

// Parses a whole document; NaN, comments and duplicate keys are refused. Throws Code::invalid naming `what`.
nlohmann::json parse_json(const std::string& text, const std::string& what);

// Reads the members of one object. A member that is absent or null keeps the value that the target already has.
class JsonObject {
public:
    JsonObject(const nlohmann::json& value, std::string path);

    bool has(const std::string& key);
    void read(const std::string& key, std::string& out);
    void read(const std::string& key, bool& out);
    void read(const std::string& key, int& out);
    void read(const std::string& key, int64_t& out);
    void read(const std::string& key, uint64_t& out);
    void read(const std::string& key, double& out);
    void read(const std::string& key, std::vector<std::string>& out);
    void read(const std::string& key, std::vector<int32_t>& out);
    void read(const std::string& key, std::vector<int64_t>& out);
    void read(const std::string& key, std::map<std::string, double>& out);
    void read(const std::string& key, std::map<std::string, std::string>& out);
    // A nested object.
    JsonObject object(const std::string& key);
    // Calls `each` with a JsonObject for every element of an array of objects.
    template <class Each>
    void objects(const std::string& key, const Each& each) {
        if (!has(key)) return;
        const nlohmann::json& array = require_array(key);
        for (size_t i = 0; i < array.size(); i++)
            each(JsonObject(array[i], member(key) + "[" + std::to_string(i) + "]"));
    }

    // Throws Code::invalid naming the first key that nothing has asked for. Call it last.
    void finish() const;
    // Throws Code::invalid unless the string is set.
    void require(const std::string& key, const std::string& value) const;
    std::string member(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }

private:
    const nlohmann::json& at(const std::string& key) const { return value_.at(key); }
    const nlohmann::json& require_array(const std::string& key) const;
    template <class Int>
    void read_integer(const std::string& key, Int& out);
    template <class Int>
    void read_integers(const std::string& key, std::vector<Int>& out);

    const nlohmann::json& value_;
    std::string path_;
    std::set<std::string> seen_;
};

}  // namespace stepd
