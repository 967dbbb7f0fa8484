#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/error.h"

namespace stepd {
namespace {

// Closes a descriptor on every way out of a scope.
class Descriptor {
public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return fd_; }

private:
    int fd_;
};

Code code_of_errno(int error) { return error == ENOENT || error == ENOTDIR ? Code::not_found : Code::io; }

void sync_folder(const std::string& path) {
    std::filesystem::path parent = std::filesystem::path(path).parent_path();
    std::filesystem::path folder = parent.empty() ? std::filesystem::path(".") : parent;
    Descriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    STEPD_REQUIRE(fd.get() >= 0 && ::fsync(fd.get()) == 0, Code::io, "cannot flush the folder ", folder.string(), ": ",
                  std::strerror(errno));
}

}  // namespace

MappedFile::MappedFile(const std::string& path, uint64_t max_bytes) : path_(path) {
    Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    STEPD_REQUIRE(fd.get() >= 0, code_of_errno(errno), "cannot open ", path, ": ", std::strerror(errno));
    struct stat info;
    STEPD_REQUIRE(::fstat(fd.get(), &info) == 0, Code::io, "cannot read the size of ", path, ": ",
                  std::strerror(errno));
    STEPD_REQUIRE(S_ISREG(info.st_mode), Code::invalid, path, " is not a regular file");
    STEPD_REQUIRE(uint64_t(info.st_size) <= max_bytes, Code::invalid, path, " has ", info.st_size,
                  " bytes, more than the limit of ", max_bytes);
    size_ = size_t(info.st_size);
    if (size_ == 0) return;
    void* data = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd.get(), 0);
    STEPD_REQUIRE(data != MAP_FAILED, Code::io, "cannot map ", path, " (", size_, " bytes): ", std::strerror(errno));
    data_ = static_cast<const std::byte*>(data);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile::~MappedFile() {
    if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

AtomicFile::AtomicFile(const std::string& path, uint64_t expected_bytes) : path_(path) {
    static std::atomic<uint64_t> counter{0};
    std::filesystem::path place(path);
    // Unique among processes, threads and calls.
    std::string name = detail::concat(".", place.filename().string(), ".tmp-", ::getpid(), "-", counter.fetch_add(1));
    temporary_ = (place.parent_path() / name).string();
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0) fail("create");
    if (expected_bytes > 0) reserve(expected_bytes);
}

AtomicFile::~AtomicFile() {
    if (fd_ >= 0) ::close(fd_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::reserve(uint64_t bytes) {
    if (::fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0, off_t(bytes)) == 0 || errno == EOPNOTSUPP || errno == ENOSYS) return;
    int error = errno;
    // The destructor does not run when the constructor throws.
    ::close(std::exchange(fd_, -1));
    ::unlink(temporary_.c_str());
    STEPD_THROW(Code::io, "cannot reserve ", bytes, " bytes for ", path_, ": ", std::strerror(error));
}

void AtomicFile::fail(const char* action) const {
    STEPD_THROW(code_of_errno(errno), "cannot ", action, " ", path_, ": ", std::strerror(errno));
}

void AtomicFile::write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        ssize_t count = ::write(fd_, bytes.data(), bytes.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) fail("write");
        bytes = bytes.subspan(size_t(count));
        written_ += uint64_t(count);
    }
}

void AtomicFile::commit() {
    // A failed fsync is final: the kernel may have dropped the dirty pages, so a second try could report success
    // falsely.
    if (::fsync(fd_) != 0) fail("flush");
    if (::close(std::exchange(fd_, -1)) != 0) fail("close");
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename into place");
    temporary_.clear();
    sync_folder(path_);
}

}  // namespace stepd
