//! TemplateService.

use sandgate_api::duration_to;
use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::template_service_server::TemplateService;
use sandgate_rpc::{Caller, Fault, page_size};
use sandgate_types::TemplateName;
use tonic::{Request, Response};

use super::{Reply, Services};
use crate::caller::Scope;

#[tonic::async_trait]
impl TemplateService for Services {
    async fn list_templates(
        &self,
        request: Request<pb::ListTemplatesRequest>,
    ) -> Reply<pb::ListTemplatesResponse> {
        let life = self.life()?;
        let scope = Scope::of(&Caller::of(&request)?).map_err(Fault::from)?;
        let pb::ListTemplatesRequest {
            page_size: wished,
            page_token,
        } = request.into_inner();
        let limit = page_size(wished).map_err(Fault::from)?;
        let list = format!("{}\ntemplates", scope.principal);
        let after = self.pages.decode(&list, &page_token).map_err(Fault::from)?;
        let after = after
            .map(|bytes| TemplateName::parse("page_token", &String::from_utf8_lossy(&bytes)))
            .transpose()
            .map_err(Fault::from)?;
        let pools = life.backend.pools().await;
        let behind = |name: &TemplateName| after.as_ref().is_none_or(|after| name > after);
        let mut rest = life
            .templates
            .iter()
            .filter(|template| behind(&template.name));
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let next_page_token = match (rest.next(), page.last()) {
            (Some(_), Some(last)) => self.pages.encode(&list, last.name.as_str().as_bytes()),
            (Some(_) | None, Some(_) | None) => String::new(),
        };
        let templates = page.into_iter().map(|template| {
            let ready = pools.iter().find(|pool| pool.template == template.name);
            pb::Template {
                template: template.name.as_str().to_owned(),
                description: template.description.clone(),
                default_ttl: Some(duration_to(template.default_ttl)),
                max_ttl: Some(duration_to(template.max_ttl)),
                idle_timeout: Some(duration_to(template.idle_timeout)),
                operations: template.operations.clone(),
                pool_size: i32::try_from(template.pool_size).unwrap_or(i32::MAX),
                pool_ready: ready.map_or(0, |pool| i32::try_from(pool.ready).unwrap_or(i32::MAX)),
            }
        });
        Ok(Response::new(pb::ListTemplatesResponse {
            templates: templates.collect(),
            next_page_token,
        }))
    }
}
