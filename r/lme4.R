# A linear mixed model by lme4, as tidy tables.
#   source("tidy.R"); source("lme4.R")
#   fit_lme4(lme4::sleepstudy, Reaction ~ Days + (Days | Subject))$rows
# profile "default" is a plain call of lmer(); "tight" the best that lme4 can do. weights and offset are columns' names.

fit_lme4 <- function(data, formula, method = c("REML", "ML"), profile = c("default", "tight"),
                     weights = NULL, offset = NULL) {
  REML <- match.arg(method) == "REML"
  profile <- match.arg(profile)
  started <- Sys.time()
  fit <- if (profile == "default") {
    with_columns(quote(lme4::lmer(formula, data, REML = REML)), weights, offset)
  } else {
    tight_lme4(formula, data, REML, weights, offset)
  }
  seconds <- as.numeric(Sys.time() - started, units = "secs")
  lme4_tables(fit, tidy_fixed(lme4::fixef(fit), sqrt(diag(as.matrix(vcov(fit, correlation = FALSE))))), seconds)
}

# What lmer() found, with the rows of its fixed effects: those are lme4's, lmerTest's or pbkrtest's.
lme4_tables <- function(fit, fixed, seconds) {
  terms <- names(fit@cnms) # two terms on one group share its name here; VarCorr calls the second g.1
  G <- unname(unclass(lme4::VarCorr(fit)))
  b <- lme4::ranef(fit, condVar = FALSE)
  conv <- fit@optinfo$conv
  rows <- tidy_table(
    fixed,
    Map(tidy_covariance, terms, G),
    tidy_residual(sigma(fit)),
    Map(tidy_levels, names(b), b)
  )
  facts <- list(
    loglik = as.numeric(logLik(fit)), sigma = sigma(fit), n = nobs(fit), seconds = seconds,
    # A singular fit is a message, not a failure: its lme4 code stays empty.
    converged = all(c(conv$opt, conv$lme4$code) == 0)
  )
  list(rows = rows, facts = facts)
}

# bobyqa down to 1e-10, from the plain call's optimum and from relative standard deviations of .1, 1 and 10 over the
# RMS of each column; then once more from the best, since bobyqa can stop short within its first trust region.
# `last`: the lmer() of that call, lme4's or lmerTest's.
tight_lme4 <- function(formula, data, REML, weights = NULL, offset = NULL, last = lme4::lmer) {
  fit_from <- function(theta, lmer = lme4::lmer) {
    # minqa's own rhobeg, .2 max|theta|, is an error at theta = 0.
    rhobeg <- max(min(.95, .2 * max(abs(theta))), 1e-8)
    control <- lme4::lmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = rhobeg, rhoend = 1e-10, maxfun = 1e6))
    call <- quote(lmer(formula, data, REML = REML, control = control, start = theta))
    with_columns(call, weights, offset)
  }
  hushed <- function(fit) suppressWarnings(suppressMessages(fit))
  plain <- hushed(with_columns(quote(lme4::lmer(formula, data, REML = REML)), weights, offset))
  diagonal <- lme4::getME(plain, "lower") == 0
  w <- stats::weights(plain)
  rms <- unlist(lapply(lme4::getME(plain, "mmList"), function(Z) sqrt(colMeans(w * Z^2))))
  starts <- lapply(c(.1, 1, 10), function(scale) replace(0 * diagonal, diagonal, scale / rms))
  fits <- lapply(c(list(lme4::getME(plain, "theta")), starts), function(theta) hushed(fit_from(theta)))
  best <- fits[[which.max(vapply(fits, logLik, 0))]]
  fit_from(lme4::getME(best, "theta"), last)
}
