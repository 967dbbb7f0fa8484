// The backend that plans and never runs: answers sizes and costs of models that this machine could not hold.
#include "backend/cpu.h"
#include "ops/op.h"

namespace stepd {

namespace {

class NullBackend final : public Backend {
public:
    const char* name() const override { return "null"; }
    Kernel find(const std::string& op) const override { return find_op(op) ? marker : nullptr; }
    bool executes() const override { return false; }
    Pool* pool() override { return nullptr; }

private:
    static void marker(const KernelArgs&) { STEPD_THROW(Code::unsupported, "the null backend does not run kernels"); }
};

}  // namespace

std::unique_ptr<Backend> make_null_backend() { return std::make_unique<NullBackend>(); }

}  // namespace stepd
