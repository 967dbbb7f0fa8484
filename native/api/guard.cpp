#include "api/guard.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/error.h"

namespace stepd::api {
namespace {

std::atomic<int64_t> live_objects{0};

// Copies at most size - 1 bytes, without cutting a UTF-8 character in two.
void copy_text(char* out, size_t size, const char* text) noexcept {
    size_t n = std::min(std::strlen(text), size - 1);
    if (text[n] != '\0')
        while (n > 0 && (static_cast<unsigned char>(text[n]) & 0xc0) == 0x80) n--;
    std::memcpy(out, text, n);
    out[n] = '\0';
}

stepd_status fill(stepd_error* error, Code code, const char* place, const char* message) noexcept {
    // A caller built against a smaller struct, or one that forgot struct_size, gets the status alone.
    if (error && error->struct_size >= sizeof(stepd_error)) {
        error->code = int32_t(code);
        copy_text(error->place, sizeof error->place, place);
        copy_text(error->message, sizeof error->message, message);
    }
    return stepd_status(code);
}

}  // namespace

stepd_status report(stepd_error* error) noexcept {
    try {
        throw;
    } catch (const Error& e) {
        return fill(error, e.code(), e.place().c_str(), e.what());
    } catch (const std::bad_alloc&) {
        return fill(error, Code::out_of_memory, "", "out of memory");
    } catch (const nlohmann::json::exception& e) {  // a file of the model that is not what its format says
        return fill(error, Code::invalid, "", e.what());
    } catch (const std::system_error& e) {  // files and folders
        return fill(error, Code::io, "", e.what());
    } catch (const std::exception& e) {
        return fill(error, Code::internal, "", e.what());
    } catch (...) {
        return fill(error, Code::internal, "", "unknown exception");
    }
}

std::string borrow(const char* data, size_t size, const char* what) {
    STEPD_REQUIRE(data || size == 0, Code::invalid, what, ": null pointer with size ", size);
    return data ? std::string(data, size) : std::string();
}

void give(stepd_buffer* out, const std::string& text) {
    STEPD_REQUIRE(out, Code::invalid, "out: null pointer");
    char* data = static_cast<char*>(std::malloc(text.size() + 1));
    if (!data) throw std::bad_alloc();
    std::memcpy(data, text.c_str(), text.size() + 1);
    out->data = data;
    out->size = text.size();
    count_live(1);
}

void count_live(int change) noexcept { live_objects += change; }

}  // namespace stepd::api

extern "C" {

int64_t stepd_debug_live(void) { return stepd::api::live_objects; }

void stepd_buffer_free(stepd_buffer* buffer) {
    if (!buffer || !buffer->data) return;
    std::free(buffer->data);
    *buffer = {nullptr, 0};
    stepd::api::count_live(-1);
}

}  // extern "C"
