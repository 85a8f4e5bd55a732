// A SAML identity provider of another maker's: reads our metadata and our
// request from stdin, and writes its metadata and its response.
import { readFileSync } from 'node:fs';
import samlify from 'samlify';

const { key, cert, sp: spMetadata, query, message } = JSON.parse(readFileSync(0, 'utf8'));
samlify.setSchemaValidator({ validate: async () => 'ok' });

const context = `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="{ID}" Version="2.0" IssueInstant="{IssueInstant}" Destination="{Destination}" InResponseTo="{InResponseTo}">
  <saml:Issuer>{Issuer}</saml:Issuer>
  <samlp:Status><samlp:StatusCode Value="{StatusCode}"/></samlp:Status>
  <saml:Assertion xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xs="http://www.w3.org/2001/XMLSchema" ID="{AssertionID}" Version="2.0" IssueInstant="{IssueInstant}">
    <saml:Issuer>{Issuer}</saml:Issuer>
    <saml:Subject>
      <saml:NameID Format="{NameIDFormat}">{NameID}</saml:NameID>
      <saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
        <saml:SubjectConfirmationData NotOnOrAfter="{End}" Recipient="{Destination}" InResponseTo="{InResponseTo}"/>
      </saml:SubjectConfirmation>
    </saml:Subject>
    <saml:Conditions NotBefore="{IssueInstant}" NotOnOrAfter="{End}"><saml:AudienceRestriction><saml:Audience>{Audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions>
    <saml:AuthnStatement AuthnInstant="{IssueInstant}" SessionIndex="_s"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>
    {AttributeStatement}
  </saml:Assertion>
</samlp:Response>`;

const idp = samlify.IdentityProvider({
  entityID: 'https://samlify.example/idp', privateKey: key, signingCert: cert, isAssertionEncrypted: false,
  messageSigningOrder: 'sign-then-encrypt', requestSignatureAlgorithm: 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256',
  nameIDFormat: ['urn:oasis:names:tc:SAML:2.0:nameid-format:persistent'],
  singleSignOnService: [{ Binding: 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect', Location: 'https://samlify.example/sso' }],
  loginResponseTemplate: { context, attributes: [{ name: 'mail', valueTag: 'mail', nameFormat: 'urn:oasis:names:tc:SAML:2.0:attrname-format:basic', valueXsiType: 'xs:string' }] },
});
const sp = samlify.ServiceProvider({ metadata: spMetadata, ...(message ? { wantMessageSigned: true } : {}) });
const asked = await idp.parseLoginRequest(sp, 'redirect', { query });

const now = new Date().toISOString();
const response = await idp.createLoginResponse(sp, asked, 'post', {}, (template) => {
  const values = {
    ID: '_r' + Date.now(), AssertionID: '_a' + Date.now(), Destination: sp.entityMeta.getAssertionConsumerService('post'), Audience: sp.entityMeta.getEntityID(),
    Issuer: idp.entityMeta.getEntityID(), IssueInstant: now, End: new Date(Date.now() + 300e3).toISOString(), InResponseTo: asked.extract.request.id,
    StatusCode: 'urn:oasis:names:tc:SAML:2.0:status:Success', NameIDFormat: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent', NameID: 'carol', attrMail: 'carol@corp.example',
  };
  return { id: values.ID, context: samlify.SamlLib.replaceTagsByValue(template, values) };
});
process.stdout.write(JSON.stringify({ metadata: idp.getMetadata(), response: response.context, issuer: asked.extract.issuer, id: asked.extract.request.id }));
