// The part of the C interface that needs no session.
#include <stepd/stepd.h>

#include <new>

#include "api/guard.h"
#include "api/requests.h"
#include "api/version.h"
#include "backend/cpu.h"
#include "base/error.h"
#include "base/pool.h"
#include "io/image.h"
#include "models/family.h"

namespace stepd::api {
namespace {

nlohmann::json info() {
    nlohmann::json families = nlohmann::json::array();
    for (const Family* family : all_families()) families.push_back(family->name);
    return {
        {"name", "native"},     {"version", kVersion}, {"instruction_set", cpu_isa()}, {"threads", Pool(0).threads()},
        {"families", families}, {"devices", {"cpu"}}};
}

}  // namespace
}  // namespace stepd::api

using namespace stepd::api;  // the functions below are C; names of the library would only get longer

extern "C" {

int32_t stepd_abi_version(void) { return STEPD_ABI_VERSION; }

stepd_status stepd_info(stepd_buffer* out, stepd_error* error) {
    return guard(error, [&] { give(out, info().dump()); });
}

stepd_status stepd_probe(const char* path, size_t path_size, stepd_buffer* out, stepd_error* error) {
    return guard(error, [&] {
        const stepd::ImageInfo picture = stepd::probe_image(borrow(path, path_size, "path"));
        const nlohmann::json answer = {
            {"width", picture.width}, {"height", picture.height}, {"format", stepd::name_of(picture.format)}};
        give(out, answer.dump());
    });
}

stepd_cancellation* stepd_cancellation_new(void) {
    auto* c = new (std::nothrow) stepd_cancellation;
    if (c) count_live(1);
    return c;
}

void stepd_cancellation_set(stepd_cancellation* c) {
    if (c) c->flag.cancel();
}

void stepd_cancellation_free(stepd_cancellation* c) {
    if (c) count_live(-1);
    delete c;
}

stepd_status stepd_plan(const char* json, size_t json_size, const stepd_cancellation* cancellation, stepd_buffer* out,
                        stepd_error* error) {
    return guard(error, [&] {
        const PlanRequest request = parse_plan(borrow(json, json_size, "json"));
        const stepd::Model model(request.config);
        const int threads = stepd::Pool(0).threads();
        const stepd::MemoryPlan plan =
            stepd::plan_memory(model, request.config, request.shapes, threads, flag_of(cancellation));
        give(out, stepd::to_json(plan).dump());
    });
}

stepd_status stepd_init_model(const char* json, size_t json_size, stepd_error* error) {
    return guard(error, [&] { stepd::init_model(parse_init_model(borrow(json, json_size, "json"))); });
}

stepd_status stepd_bench(const char* json, size_t json_size, stepd_buffer* out, stepd_error* error) {
    return guard(error, [&] { give(out, stepd::run_bench(parse_bench(borrow(json, json_size, "json"))).dump()); });
}

}  // extern "C"
