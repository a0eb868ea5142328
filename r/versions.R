# Versions of all that an R engine's numbers depend on, NA for a package that is not there. Loads no package.
versions <- function(packages) {
  installed <- function(package) {
    tryCatch(as.character(utils::packageVersion(package)), error = function(e) NA_character_)
  }
  # BLAS says its version only in the name of its file.
  c(R = as.character(getRversion()), BLAS = basename(extSoftVersion()[["BLAS"]]), vapply(packages, installed, ""))
}
