# A linear mixed model by lme4, with Satterthwaite's denominator df by lmerTest, as tidy tables.
#   source("tidy.R"); source("lme4.R"); source("lmerTest.R")
#   fit_lmerTest(lme4::sleepstudy, Reaction ~ Days + (Days | Subject))$rows

fit_lmerTest <- function(data, formula, method = c("REML", "ML"), profile = c("default", "tight"),
                         weights = NULL, offset = NULL) {
  REML <- match.arg(method) == "REML"
  profile <- match.arg(profile)
  started <- Sys.time()
  fit <- if (profile == "default") {
    with_columns(quote(lmerTest::lmer(formula, data, REML = REML)), weights, offset)
  } else {
    tight_lme4(formula, data, REML, weights, offset, last = lmerTest::lmer)
  }
  beta <- lme4::fixef(fit)
  test <- lmerTest::contest(fit, diag(length(beta)), joint = FALSE, ddf = "Satterthwaite")
  seconds <- as.numeric(Sys.time() - started, units = "secs")
  lme4_tables(fit, tidy_fixed(beta, test[["Std. Error"]], test[["df"]]), seconds)
}
