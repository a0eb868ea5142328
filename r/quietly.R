# f(...) without a word: its value or its error's text, and all that it said meanwhile. R's options are R's defaults,
# whatever was set before.
quietly <- function(f, ...) {
  old <- options(contrasts = c("contr.treatment", "contr.poly"), na.action = "na.omit", warn = 1, OutDec = ".")
  on.exit(options(old))
  said <- character()
  keep <- function(restart) function(condition) {
    said <<- c(said, trimws(conditionMessage(condition)))
    invokeRestart(restart)
  }
  answer <- tryCatch(
    withCallingHandlers(
      list(value = f(...)), warning = keep("muffleWarning"), message = keep("muffleMessage")
    ),
    error = function(e) list(error = trimws(conditionMessage(e)))
  )
  c(answer, list(messages = said))
}
