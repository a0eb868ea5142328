# A linear mixed model by lme4, with Kenward and Roger's standard errors and denominator df by pbkrtest.
#   source("tidy.R"); source("lme4.R"); source("pbkrtest.R")
#   fit_pbkrtest(lme4::sleepstudy, Reaction ~ Days + (Days | Subject))$rows
# REML only: of an ML fit, pbkrtest would take the REML fit of the same model without saying so.

fit_pbkrtest <- function(data, formula, method = c("REML", "ML"), profile = c("default", "tight"),
                         weights = NULL, offset = NULL) {
  if (match.arg(method) == "ML") stop("Kenward-Roger is defined for REML fits")
  profile <- match.arg(profile)
  started <- Sys.time()
  fit <- if (profile == "default") {
    with_columns(quote(lme4::lmer(formula, data)), weights, offset)
  } else {
    tight_lme4(formula, data, TRUE, weights, offset)
  }
  beta <- lme4::fixef(fit)
  adjusted <- pbkrtest::vcovAdj(fit)
  plain <- vcov(fit)
  df <- apply(diag(length(beta)), 1, function(one) pbkrtest::Lb_ddf(one, plain, adjusted))
  seconds <- as.numeric(Sys.time() - started, units = "secs")
  lme4_tables(fit, tidy_fixed(beta, sqrt(diag(as.matrix(adjusted))), df), seconds)
}
